// Reports of runs: signed once, when a run has ended, and kept as they were signed.
//
// Hazard: a report that is signed anew from rows that somebody has changed since. So the first signature stays: whoever asks later gets the
// stored bytes. A run that goes on has a report without a signature.
//
// Invariant (evidence.db.test.ts): V1 of one run there is one signed report, however often and by whomever it is sealed.

import { createPublicKey, type KeyObject } from 'node:crypto';

import { signReport, type SignedReport } from '@holdfast/shared/recovery/report-signature';
import { encodeReport, makeReport, type RunFacts } from '@holdfast/shared/recovery/report';
import type pg from 'pg';

import type { Catalog } from '../../catalog/catalog.ts';
import type { MasterKey } from '../../fleet/master-key.ts';
import { openReportKey } from './report-key.ts';

export interface Evidence {
  /** Raw, 32 bytes: what an auditor holds reports against. */
  readonly publicKey: Buffer;
  /** Signs the report of a run that has ended and keeps it, or gives the one that is kept. In the caller's transaction, if it has one. */
  seal(domainId: string, facts: RunFacts, client?: pg.ClientBase): Promise<SignedReport>;
  /** Undefined: not sealed. */
  sealed(runId: string): Promise<SignedReport | undefined>;
  /** Of a run that goes on: its signature is empty. */
  draft(facts: RunFacts): SignedReport;
}

interface Row {
  readonly report: Buffer;
  readonly signature: Buffer;
  readonly publicKey: Buffer;
}

const SELECT = `select report, signature, public_key as "publicKey" from run_report where run_id = $1`;

export async function openEvidence(catalog: Catalog, masterKey: MasterKey): Promise<Evidence> {
  const key = await openReportKey(catalog, masterKey);
  const publicKey = rawPublicKey(key);
  const find = async (client: pg.ClientBase | pg.Pool, runId: string): Promise<Row | undefined> =>
    (await client.query<Row>(SELECT, [runId])).rows[0];
  return {
    publicKey,
    async seal(domainId, facts, client) {
      const queryable = client ?? catalog.pool;
      const { report, signature } = signReport(encodeReport(makeReport(facts)), key);
      await queryable.query(
        `insert into run_report (run_id, domain_id, report, signature, public_key) values ($1, $2, $3, $4, $5)
         on conflict (run_id) do nothing`,
        [facts.run.id, domainId, report, signature, publicKey],
      );
      return (await find(queryable, facts.run.id)) ?? { report, signature, publicKey };
    },
    sealed: (runId) => find(catalog.pool, runId),
    draft: (facts) => ({ report: encodeReport(makeReport(facts)), signature: Buffer.alloc(0), publicKey }),
  };
}

function rawPublicKey(key: KeyObject): Buffer {
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  return Buffer.from(x ?? '', 'base64url');
}
