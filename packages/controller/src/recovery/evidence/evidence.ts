// Reports of runs: signed once, when a run has ended, and kept as they were signed.
//
// Hazard: a report that is signed anew from rows that somebody has changed since. So the first signature stays: whoever asks later gets the
// stored bytes. A run that goes on has a report without a signature.
//
// Invariants (evidence.db.test.ts): V1 of one run there is one signed report, however often and by whomever it is asked for; V2 a run that has
// ended gets its report also when nobody asks.

import { createPublicKey, type KeyObject } from 'node:crypto';

import { signReport, type SignedReport } from '@holdfast/shared/recovery/report-signature';
import { encodeReport, makeReport } from '@holdfast/shared/recovery/report';

import type { Catalog } from '../../catalog/catalog.ts';
import type { MasterKey } from '../../fleet/master-key.ts';
import { openReportKey } from './report-key.ts';
import { loadRunFacts } from './run-facts.ts';

export interface Evidence {
  /** Raw, 32 bytes: what an auditor holds reports against. */
  readonly publicKey: Buffer;
  /**
   * The report of a run: signed and kept when the run has ended (first call), the kept one (later calls), or with an empty signature
   * while the run goes on. Throws NOT_FOUND.
   */
  reportOf(runId: string): Promise<SignedReport>;
  /** Signs the reports of runs that have ended and have none. At most a few: call it again and again. */
  sealEnded(): Promise<void>;
}

export interface EvidenceDeps {
  readonly catalog: Catalog;
  readonly masterKey: MasterKey;
  readonly version: string;
}

const SEALED_AT_ONCE = 20;

export async function openEvidence({ catalog, masterKey, version }: EvidenceDeps): Promise<Evidence> {
  const { pool } = catalog;
  const key = await openReportKey(catalog, masterKey);
  const publicKey = rawPublicKey(key);

  const kept = async (runId: string): Promise<SignedReport | undefined> => {
    const { rows } = await pool.query<SignedReport>(
      `select report, signature, public_key as "publicKey" from run_report where run_id = $1`,
      [runId],
    );
    return rows[0];
  };
  const reportOf = async (runId: string): Promise<SignedReport> => {
    const before = await kept(runId);
    if (before !== undefined) return before;
    const facts = await loadRunFacts(pool, runId, version);
    const bytes = encodeReport(makeReport(facts));
    if (facts.run.finishedAtMs === undefined) return { report: bytes, signature: Buffer.alloc(0), publicKey };
    const signed = signReport(bytes, key);
    await pool.query(
      `insert into run_report (run_id, domain_id, report, signature, public_key)
       select r.id, p.domain_id, $2, $3, $4 from run r join plan p on p.id = r.plan_id where r.id = $1
       on conflict (run_id) do nothing`,
      [runId, signed.report, signed.signature, publicKey],
    );
    return (await kept(runId)) ?? signed;
  };
  return {
    publicKey,
    reportOf,
    async sealEnded() {
      const { rows } = await pool.query<{ id: string }>(
        `select id from run r where finished_at is not null and not ahead and not exists (select 1 from run_report where run_id = r.id)
         order by finished_at desc limit $1`,
        [SEALED_AT_ONCE],
      );
      for (const { id } of rows) await reportOf(id);
    },
  };
}

function rawPublicKey(key: KeyObject): Buffer {
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  return Buffer.from(x ?? '', 'base64url');
}
