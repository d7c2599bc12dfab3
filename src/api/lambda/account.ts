/** What a tenant may use and uses. */

import { ok, type Answer, type Call, type Operation } from './operation.ts';

export const accountOperations: readonly Operation[] = [
  {
    name: 'GetAccountSettings',
    method: 'GET',
    path: '/2016-08-19/account-settings',
    run: getAccountSettings,
  },
];

/** Lambda's, of code. Source: Lambda quotas. */
const codeLimits = {
  TotalCodeSize: 80_530_636_800,
  CodeSizeUnzipped: 262_144_000,
  CodeSizeZipped: 52_428_800,
};

async function getAccountSettings({ functions, tenant }: Call): Promise<Answer> {
  const settings = await functions.accountSettings(tenant);
  return ok({
    AccountLimit: {
      ...codeLimits,
      ConcurrentExecutions: settings.concurrentExecutionsMax,
      UnreservedConcurrentExecutions: settings.unreservedConcurrentExecutions,
    },
    AccountUsage: { TotalCodeSize: settings.codeSizeBytes, FunctionCount: settings.functionCount },
  });
}
