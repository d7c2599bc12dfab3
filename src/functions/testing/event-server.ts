/**
 * A process that accepts asynchronous invokes and runs them, as fast as it can, until it is killed. Its argument is the
 * directory of its catalog; every line that it writes, `accepted ID` or `ran ID`, is out before it goes on.
 */

import { writeSync } from 'node:fs';

import { present } from '../../base/index.ts';
import { openServiceFixture } from './service-fixture.ts';
import { respond } from './simulated-worker.ts';

const stdoutFd = 1;
const passMs = 20;

const fixture = await openServiceFixture({
  directory: present(process.argv[2], 'directory'),
  program: () => ({
    handle: async ({ requestId }) => {
      await fixture.time.sleep(100);
      writeSync(stdoutFd, `ran ${requestId}\n`);
      return respond(1);
    },
  }),
});

async function acceptForEver(): Promise<never> {
  for (;;) {
    const request = { tenant: 'default', name: 'hello', payload: Buffer.from('{}') };
    const { requestId } = await fixture.service.invokeLater(request);
    writeSync(stdoutFd, `accepted ${requestId}\n`);
  }
}

async function passForEver(): Promise<never> {
  for (;;) await fixture.time.pass(passMs);
}

await fixture.create();
await Promise.all([acceptForEver(), passForEver()]);
