/** All commands, by noun. Each function adds its commands to the program. */

import type { Command } from 'commander';

import type { CliContext } from '../context.ts';
import { addCacheCommands } from './cache.ts';
import { addDoctorCommand } from './doctor.ts';
import { addFunctionCommands } from './function.ts';
import { addImageCommands } from './image.ts';
import { addProcessCommands } from './processes.ts';
import { addRuntimeCommands } from './runtime.ts';
import { addTenantCommands } from './tenant.ts';

export type AddCommands = (program: Command, context: CliContext) => void;

export const commandGroups: readonly AddCommands[] = [
  addImageCommands,
  addTenantCommands,
  addFunctionCommands,
  addRuntimeCommands,
  addCacheCommands,
  addProcessCommands,
  addDoctorCommand,
];
