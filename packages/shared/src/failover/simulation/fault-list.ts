// What a schedule is made of: faults at moments, and lists of them that can be printed and read.

import type { NetworkSettings } from './network-settings.ts';

export type Fault =
  | { readonly kind: 'cut' | 'heal'; readonly from: string; readonly to: string }
  | {
      readonly kind:
        | 'crash'
        | 'boot'
        | 'pause'
        | 'resume'
        | 'freeze'
        | 'thaw'
        | 'kill-agent'
        | 'start-agent'
        | 'clean-stop';
      readonly node: string;
    }
  | { readonly kind: 'sick' | 'well'; readonly node: string }
  | { readonly kind: 'roll-back'; readonly ageMs: number; readonly silent: boolean }
  | { readonly kind: 'plan'; readonly ready: boolean }
  | { readonly kind: 'wall-jump'; readonly node: string; readonly byMs: number }
  | { readonly kind: 'person-promotes' }
  | { readonly kind: 'person-overrides'; readonly dead: string };

export type Scheduled = Fault & { readonly atMs: number };

/** What must hold besides what always must. */
export interface Expectations {
  readonly noFailover?: 'needless failover' | 'unwanted failover';
  /** No order between these. */
  readonly noOrder?: readonly [number, number];
  /** The primary takes writes at every moment from here on. */
  readonly servesFromMs?: number;
  /** A promotion no later than the bound after this moment. */
  readonly promotedAfterMs?: number;
  /** At the end somebody takes writes. */
  readonly someoneServesAtEnd?: boolean;
  readonly toldToStop?: boolean;
}

export interface Schedule {
  readonly faults: readonly Scheduled[];
  readonly network: NetworkSettings;
  readonly endMs: number;
  readonly midPause: number;
  readonly powerOff: boolean;
  readonly scriptWorks: boolean;
  readonly synchronousCatalog: boolean;
  readonly holdoffMs: number;
  readonly expect: Expectations;
}

export const HOSTS = ['web-1', 'web-2'] as const;
export const WITNESSES = ['mon-1', 'api-1', 'db-1'] as const;
export const REPLICAS = ['controller-1', 'controller-2'] as const;
/** By site: mon-1 and api-1 stand beside web-1. */
export const SITES: ReadonlyMap<string, string> = new Map([
  ['web-1', 'a'],
  ['mon-1', 'a'],
  ['api-1', 'a'],
  ['web-2', 'b'],
  ['db-1', 'b'],
]);

export const CALM: NetworkSettings = { minDelayMs: 1, maxDelayMs: 40, loss: 0, late: 0, lateMs: 0, doubled: 0 };
export const ROUGH: NetworkSettings = {
  minDelayMs: 1,
  maxDelayMs: 120,
  loss: 0.02,
  late: 0.02,
  lateMs: 9000,
  doubled: 0.02,
};

const BASE: Omit<Schedule, 'faults' | 'endMs'> = {
  network: CALM,
  midPause: 0,
  powerOff: false,
  scriptWorks: true,
  synchronousCatalog: true,
  holdoffMs: 3_600_000,
  expect: {},
};

export class Plan {
  readonly faults: Scheduled[] = [];

  at(atMs: number, ...faults: Fault[]): this {
    for (const fault of faults) this.faults.push({ ...fault, atMs: Math.round(atMs) });
    return this;
  }

  /** Cuts both ways, or one way. */
  cut(atMs: number, a: string, b: string, ways: 'both' | 'one' = 'both'): this {
    this.at(atMs, { kind: 'cut', from: a, to: b });
    return ways === 'both' ? this.at(atMs, { kind: 'cut', from: b, to: a }) : this;
  }

  heal(atMs: number, a: string, b: string): this {
    return this.at(atMs, { kind: 'heal', from: a, to: b }, { kind: 'heal', from: b, to: a });
  }

  cutFromAll(atMs: number, node: string, but: readonly string[] = []): this {
    for (const other of [...HOSTS, ...WITNESSES, ...REPLICAS, 'catalog']) {
      if (other !== node && !but.includes(other)) this.cut(atMs, node, other);
    }
    return this;
  }

  healAll(atMs: number, node: string): this {
    for (const other of [...HOSTS, ...WITNESSES, ...REPLICAS, 'catalog'])
      if (other !== node) this.heal(atMs, node, other);
    return this;
  }

  controllers(atMs: number, kind: 'crash' | 'boot' | 'clean-stop'): this {
    for (const node of REPLICAS) this.at(atMs, { kind, node });
    return this;
  }

  done(endMs: number, rest: Partial<Schedule> = {}): Schedule {
    return { ...BASE, ...rest, faults: this.faults.toSorted((a, b) => a.atMs - b.atMs), endMs };
  }
}

/** The primary is cut from both granters and the witnesses, at some moment of its renewals. */
export function isolatePrimary(plan: Plan, atMs: number, healMs?: number): Plan {
  plan.cutFromAll(atMs, 'web-1');
  return healMs === undefined ? plan : plan.healAll(healMs, 'web-1');
}
