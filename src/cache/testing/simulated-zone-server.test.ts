/** Without faults the simulated server is one like any other. */

import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { SimulatedZoneServer } from './simulated-zone-server.ts';
import { zoneServerConformance } from './zone-server-conformance.ts';

zoneServerConformance({
  name: 'a simulated server',
  create: async () => {
    const time = new VirtualTime();
    const server = new SimulatedZoneServer({ id: 'server-0', time, random: () => 0.5 });
    return {
      server,
      until: (work) => time.until(work),
      [Symbol.asyncDispose]: () => server.close(),
    };
  },
});
