// A host whose kernel can't end the service at its time: it says so, and takes no part in what arms the leases.
//
// Pure. Tested in application-host.test.ts.

import type { FailoverMessage } from '@holdfast/shared/failover/messages';

type Grant = Extract<FailoverMessage, { kind: 'grant' }>;

/** AH4: only grants without end are taken, and none of them is put to an end. @param standing whether such a grant is in force */
export function bearable(grant: Grant, standing: boolean): Grant | undefined {
  const { ends: _ends, ...rest } = grant;
  return rest.standing !== undefined || standing ? rest : undefined;
}

/** What is said of this host names the trouble. */
export function withTrouble(message: FailoverMessage, trouble: string | undefined): FailoverMessage {
  if (trouble === undefined || (message.kind !== 'renew' && message.kind !== 'status')) return message;
  return { ...message, report: { ...message.report, trouble } };
}
