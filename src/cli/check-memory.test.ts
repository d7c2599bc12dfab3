import assert from 'node:assert/strict';
import { test } from 'node:test';

import { checkMemory } from './check-memory.ts';

test('a cache that is larger than the memory of the machine is refused, with the setting to change', () => {
  checkMemory({ cacheMemoryBytes: 2 ** 30 }, 2 ** 31);
  assert.throws(() => checkMemory({ cacheMemoryBytes: 2 ** 32 }, 2 ** 31), {
    code: 'ERR_CLI_ENVIRONMENT',
    message: /this machine has .*; lower "cache\.memory_bytes"/,
  });
});

test('the most that the configuration allows is refused where no agent could allocate it', (t) => {
  try {
    void new SharedArrayBuffer(2 ** 40);
    t.skip('needs a machine with less than 1 TiB of memory');
  } catch {
    assert.throws(() => checkMemory({ cacheMemoryBytes: 2 ** 40 }), {
      code: 'ERR_CLI_ENVIRONMENT',
    });
  }
});
