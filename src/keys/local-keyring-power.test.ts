import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { needsPrograms } from '../../test/support/programs.ts';
import { mountPowerFailureDisk } from '../store/testing/power-failure.ts';
import { openLocalKeyring } from './local-keyring.ts';

const skip = process.geteuid?.() === 0 ? needsPrograms('mkfs.ext4', 'mount') : 'needs root';

test(
  'keys and salts survive a power failure from the moment that they are given out',
  { skip },
  async () => {
    await using disk = await mountPowerFailureDisk();
    const service = await openLocalKeyring(join(disk.path, 'new', 'keyring.json'));
    const salt = await service.salt('root-1');
    const { plaintext, wrapped } = await service.generateDataKey('tenant', {});
    await disk.afterPowerFailure(async (path) => {
      const after = await openLocalKeyring(join(path, 'new', 'keyring.json'));
      assert.deepEqual(await after.unwrapDataKey('tenant', wrapped, {}), plaintext);
      assert.deepEqual(await after.salt('root-1'), salt);
    });
  },
);
