import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

import { x64SyscallNumber } from './x64-syscalls.ts';

const header = '/usr/include/x86_64-linux-gnu/asm/unistd_64.h';

test(
  "x64SyscallNumber agrees with the kernel's header",
  { skip: !existsSync(header) && 'needs linux-libc-dev on x86-64' },
  () => {
    const lines = readFileSync(header, 'utf8').matchAll(/^#define __NR_(\w+) (\d+)$/gm);
    const known = [...lines].map(([, name = '', number]) => [name, Number(number)] as const);
    assert.ok(known.length > 300);
    for (const [name, number] of known) assert.equal(x64SyscallNumber(name), number, name);
    assert.equal(x64SyscallNumber('socketcall'), undefined);
  },
);
