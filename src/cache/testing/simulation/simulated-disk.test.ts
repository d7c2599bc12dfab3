import { VirtualTime } from '../../../base/testing/virtual-time.ts';
import { seededRandom } from '../../../store/testing/seeded-random.ts';
import { cacheTierConformance } from '../cache-tier-conformance.ts';
import { SimulatedDisk } from './simulated-disk.ts';

cacheTierConformance({
  name: 'a simulated disk',
  create: async () => {
    const time = new VirtualTime();
    const tier = new SimulatedDisk(1000, time, seededRandom(1));
    return {
      tier,
      settled: async () => {},
      until: (work) => time.until(work),
      damage: async () => tier.rot(1),
      breakDown: async () => {
        tier.isBroken = true;
      },
      [Symbol.asyncDispose]: async () => {},
    };
  },
});
