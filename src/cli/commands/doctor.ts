/** `thaw doctor` */

import type { Command } from 'commander';

import type { CliContext } from '../context.ts';
import { formatTable } from '../format.ts';

export function addDoctorCommand(program: Command, context: CliContext): void {
  program
    .command('doctor')
    .description('say what this machine has and lacks, and how to get it')
    .option('--json', 'print JSON')
    .action((options: { readonly json?: boolean }) => doctor(context, options));
}

async function doctor(context: CliContext, options: { readonly json?: boolean }): Promise<void> {
  const { checkStore, diagnose } = await import('../doctor.ts');
  const diagnosis = await diagnose(context.config.root, [await checkStore(context.config)]);
  if (!diagnosis.canRunFunctions) context.cause = 'environment';
  context.print(diagnosis, options.json, () =>
    formatTable(
      ['CHECK', 'STATE', 'DETAIL', 'TO DO'],
      diagnosis.findings.map(({ name, health, detail, remedy }) => [name, health, detail, remedy]),
    ),
  );
}
