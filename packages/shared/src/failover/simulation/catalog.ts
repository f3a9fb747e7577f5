// The simulated catalog: one row, conditional operations, a history to roll back to, and an identity that a restore changes.

import { OVERRIDE_GAP } from '../catalog-epoch.ts';
import { applyToRow, type LeaseRow, type RowOperation } from '../lease-row.ts';
import type { World } from './world.ts';

export interface CatalogAnswer {
  readonly ok: boolean;
  readonly row: LeaseRow;
  readonly identity: string;
}

export class SimulatedCatalog {
  readonly #world: World;
  readonly #history: { readonly atMs: number; readonly row: LeaseRow }[] = [];
  #row: LeaseRow;
  #identity: string;
  /** What orders went through, for the assertions. */
  readonly orders: { readonly atMs: number; readonly confirmed: boolean; readonly from: LeaseRow }[] = [];
  #restores = 0;

  constructor(world: World, row: LeaseRow) {
    this.#world = world;
    this.#row = row;
    this.#identity = row.identity;
    this.#history.push({ atMs: 0, row });
  }

  get row(): LeaseRow {
    return this.#row;
  }

  get identity(): string {
    return this.#identity;
  }

  read(): CatalogAnswer {
    return { ok: true, row: this.#row, identity: this.#identity };
  }

  write(assumed: string, operation: RowOperation): CatalogAnswer {
    const before = this.#row;
    const after = this.#apply(assumed, operation);
    if (after === undefined) return { ok: false, row: before, identity: this.#identity };
    if (operation.kind !== 'beat' && operation.kind !== 'grant') {
      this.#world.note(
        () => `catalog ${JSON.stringify(operation)} → ${after.phase} epoch ${after.epoch} disarmed ${after.disarmed}`,
      );
    }
    if (after.phase === 'ordered' && before.phase !== 'ordered') {
      this.orders.push({ atMs: this.#world.nowMs, confirmed: after.confirmed, from: before });
    }
    this.#row = after;
    this.#history.push({ atMs: this.#world.nowMs, row: after });
    return { ok: true, row: after, identity: this.#identity };
  }

  /** As it was `ageMs` ago. A `silent` one is the failover of a catalog that replicates asynchronously and shows no other identity. */
  rollBack(ageMs: number, silent: boolean): void {
    const toMs = this.#world.nowMs - ageMs;
    const past = this.#history.findLast(({ atMs }) => atMs <= toMs) ?? this.#history[0]!;
    this.#row = past.row;
    this.#restores += 1;
    if (!silent) this.#identity = `catalog-${1 + this.#restores}`;
    if (this.#world.off('rollback-waits')) this.#row = { ...this.#row, identity: this.#identity };
  }

  #apply(assumed: string, operation: RowOperation): LeaseRow | undefined {
    const world = this.#world;
    const row = this.#row;
    if (operation.kind === 'grant' && world.off('no-grant-after-withdrawal')) {
      return { ...row, grantSeq: row.grantSeq + 1 };
    }
    if (operation.kind === 'grant' && world.off('grant-names-host') && row.phase === 'open') {
      return { ...row, grantSeq: row.grantSeq + 1 };
    }
    if (operation.kind === 'withdraw' && world.off('withdrawal-names-last-grant')) {
      return applyToRow(row, { ...operation, grantSeq: row.grantSeq }, assumed, this.#identity);
    }
    if (operation.kind === 'override' && world.off('override-leaves-a-gap')) {
      const nextEpoch = operation.nextEpoch - OVERRIDE_GAP + 1;
      return applyToRow(row, { ...operation, nextEpoch }, assumed, this.#identity);
    }
    const after = applyToRow(row, operation, assumed, this.#identity);
    if (after === undefined) return undefined;
    if (operation.kind === 'verify' && world.off('rollback-counts-as-disarmed')) return { ...after, disarmed: 0 };
    if (operation.kind === 'verify' && world.off('next-is-highest-plus-one')) {
      return { ...after, nextEpoch: row.nextEpoch, epoch: row.epoch, primary: row.primary, standby: row.standby };
    }
    return after;
  }
}
