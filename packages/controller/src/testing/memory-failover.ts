// Who serves, for tests of runs: the port of recovery/contract.ts over the real rows of applications, without leases or hosts. What the real one
// takes seconds and several machines for is done at once, when the test says so.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { LeaseRow } from '@holdfast/shared/failover/lease-row';

import type { Catalog } from '../catalog/catalog.ts';
import type { ApplicationLook, Failover, FailoverNews, FenceProof } from '../recovery/contract.ts';

export class MemoryFailover implements Failover {
  readonly #catalog: Catalog;
  readonly #replica: string;
  readonly #heard = new Set<(news: FailoverNews) => void>();
  readonly #looks = new Map<string, ApplicationLook>();
  /** What the primary's agent says to an order to stop. */
  primaryAnswers = true;
  readonly proofs: FenceProof[] = [];

  constructor(catalog: Catalog, replica: string) {
    this.#catalog = catalog;
    this.#replica = replica;
  }

  async plansChanged(): Promise<void> {}
  heard(): void {}
  setReady(): void {}

  look(planId: string): ApplicationLook | undefined {
    return this.#looks.get(planId);
  }

  /** Takes the application over. */
  async drive(planId: string): Promise<number> {
    const { rows } = await this.#catalog.pool.query<{ term: number }>(
      'update application set driver = $2, term = term + 1 where plan_id = $1 returning term',
      [planId, this.#replica],
    );
    const term = rows[0]?.term ?? 0;
    const row = await this.#row(planId);
    if (row === undefined) throw new HoldfastError('NOT_FOUND', 'no application');
    this.#looks.set(planId, {
      row,
      verdict: 'alive',
      suspected: false,
      driving: true,
      splitBrain: false,
      troubles: [],
      unreported: [],
      lastSignOfLifeAt: undefined,
      suspectedAt: undefined,
      declaredDeadAt: undefined,
    });
    this.tell({ kind: 'driving', planId, term });
    return term;
  }

  async #row(planId: string): Promise<LeaseRow | undefined> {
    const { rows } = await this.#catalog.pool.query<LeaseRow>(
      'select *, primary_host as primary, standby_host as standby from application where plan_id = $1',
      [planId],
    );
    return rows[0];
  }

  async stopPrimary(): Promise<boolean> {
    return this.primaryAnswers;
  }

  async promote(planId: string, proof: FenceProof): Promise<void> {
    this.proofs.push(proof);
    await this.promoteNow(planId, false);
  }

  /** These catalogs are never restored. */
  async override(): Promise<never> {
    throw new HoldfastError('FAILED_PRECONDITION', 'there is nothing to override');
  }

  /** Silent from now on, or heard again. */
  suspect(planId: string, suspected = true): void {
    const look = this.#looks.get(planId);
    if (look === undefined) throw new HoldfastError('NOT_FOUND', 'this replica does not drive it');
    const suspectedAt = suspected ? new Date() : undefined;
    this.#looks.set(planId, { ...look, suspected, suspectedAt, verdict: suspected ? 'suspected' : 'alive' });
    if (suspected) this.tell({ kind: 'suspected', planId });
  }

  /** The standby is the primary from now on. */
  async promoteNow(planId: string, automatic: boolean): Promise<number> {
    const now = new Date();
    const signs = { lastSignOfLifeAt: new Date(now.getTime() - 12_000), suspectedAt: now, declaredDeadAt: now };
    const look = this.#looks.get(planId);
    // Before the row moves: whoever has just begun to drive may find it at once.
    if (look !== undefined) this.#looks.set(planId, { ...look, ...signs });
    const { rows } = await this.#catalog.pool.query<{ epoch: number }>(
      `update application set primary_host = standby_host, standby_host = primary_host, epoch = next_epoch,
         next_epoch = next_epoch + 1, automatic = $2 where plan_id = $1 returning epoch`,
      [planId, automatic],
    );
    const epoch = rows[0]?.epoch ?? 0;
    const row = await this.#row(planId);
    if (look !== undefined && row !== undefined)
      this.#looks.set(planId, { ...look, ...signs, row, suspected: false, verdict: 'alive' });
    this.tell({ kind: 'promoted', planId, epoch, automatic, signs });
    return epoch;
  }

  /** The primary was last heard so long ago, and nobody has been asked yet. */
  hush(planId: string, silentMs: number): void {
    const look = this.#looks.get(planId);
    if (look === undefined) throw new HoldfastError('NOT_FOUND', 'this replica does not drive it');
    this.#looks.set(planId, { ...look, lastSignOfLifeAt: new Date(Date.now() - silentMs), suspectedAt: undefined });
  }

  tell(news: FailoverNews): void {
    for (const heard of this.#heard) heard(news);
  }

  subscribe(heard: (news: FailoverNews) => void): () => void {
    this.#heard.add(heard);
    return () => this.#heard.delete(heard);
  }

  async stop(): Promise<void> {
    this.#heard.clear();
  }
}
