/** Without faults the simulated server is one like any other, also through a worker's connection to it. */

import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { SimulatedZoneServer } from './simulated-zone-server.ts';
import { ZoneConnection } from './simulation/zone-connection.ts';
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

zoneServerConformance({
  name: "a worker's connection to a simulated server",
  create: async () => {
    const time = new VirtualTime();
    const shared = new SimulatedZoneServer({ id: 'server-0', time, random: () => 0.5 });
    const server = new ZoneConnection(shared);
    return {
      server,
      until: (work) => time.until(work),
      [Symbol.asyncDispose]: () => shared.close(),
    };
  },
});
