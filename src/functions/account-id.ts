/** Which AWS account a tenant is to its tools: twelve digits that stand in every ARN of its functions. */

import { createHash } from 'node:crypto';

/** Source: IAM user guide, "AWS account identifiers": twelve digits. */
const accountIdRange = 10n ** 12n;

/**
 * The configured account for the default tenant, for any other one a number that follows from its name alone, so that
 * every worker gives the same. Two tenants could have one in common, which does no harm: who is who
 * is told by the access key.
 */
export function accountIds(of: {
  readonly accountId: string;
  readonly defaultTenant: string;
}): (tenant: string) => string {
  return (tenant) => (tenant === of.defaultTenant ? of.accountId : hashedId(tenant));
}

function hashedId(tenant: string): string {
  const digest = createHash('sha256').update(`thaw/account/${tenant}`).digest();
  return (digest.readBigUInt64BE() % accountIdRange).toString().padStart(12, '0');
}
