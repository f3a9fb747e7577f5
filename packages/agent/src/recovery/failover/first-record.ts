// What a host knows of an application before it knows anything.
//
// Hazard: a host that lost its disk has promised what it does not know. So it begins only where no gate of this boot says that it took part.
//
// Tested in application-host.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { newHostRecord, type HostRecord } from '@holdfast/shared/failover/commands';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import type { ApplicationPorts } from './application-ports.ts';
import type { StoredRecord } from './record-file.ts';

/** With it every application begins; whoever is primary in a later one was promoted to it. */
const FIRST_EPOCH = 1;

/** What a host begins with that never heard of the application. */
export async function firstRecord(
  ports: Pick<ApplicationPorts, 'host' | 'bootId' | 'gate'>,
  spec: ApplicationSpec,
): Promise<StoredRecord> {
  const { host, bootId } = ports;
  // The gate of an agent of this boot: its record was lost, and with it what this host promised.
  if (
    await ports
      .gate(spec)
      .exists()
      .catch(() => false)
  ) {
    throw new HoldfastError(
      'FAILED_PRECONDITION',
      `what this host knew about ${spec.plan} is lost: it serves and grants nothing`,
      {
        hint: 'If it is certain that no other host serves, restart this host, or: holdfast-agent serve --force',
      },
    );
  }
  const fresh = newHostRecord(host, spec.catalog);
  const isPrimary = spec.primaryHost === host && spec.epoch === FIRST_EPOCH;
  const record: HostRecord = {
    ...fresh,
    highestEpoch: spec.epoch,
    servingEpoch: isPrimary ? FIRST_EPOCH : 0,
    // As a granter it begins disarmed, like the catalog's row: only a handshake arms.
    serial: 1,
    disarmed: true,
  };
  return { record, activatedEpoch: isPrimary ? FIRST_EPOCH : 0, servedBoot: isPrimary ? bootId : '', forced: [] };
}
