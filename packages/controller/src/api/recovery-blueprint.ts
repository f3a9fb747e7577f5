// The primary's blueprint, for a rebuild: the sections that the step names, out of the newest snapshot of a blueprint source.
//
// Tested in recovery-jobs.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { decodeSection, sectionPath, type SectionName } from '@holdfast/shared/blueprint/blueprint';
import { RESOLVED_MAX_BYTES, type ResolvedData } from '@holdfast/shared/recovery/host-step';
import type { Step } from '@holdfast/shared/recovery/step-types';

import { latestSnapshots } from '../browse/snapshots.ts';
import { sourcesOfHost } from '../fleet/sources.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { engineOf } from './engine-restore.ts';

export interface BlueprintDeps {
  readonly catalog: Catalog;
  readonly fileContent: (
    domainId: string,
    snapshotId: Uint8Array,
    path: string,
    maxBytes: number,
  ) => AsyncGenerator<Buffer>;
}

type Rebuild = Extract<Step, { type: 'rebuild' }>;

/** What each part of a rebuild stands on. Users belong to groups, packages come from repositories. */
const NEEDS: {
  readonly [P in 'packages' | 'users' | 'units' | 'cron' | 'sysctl' | 'firewall']: readonly SectionName[];
} = {
  packages: ['packages', 'repositories'],
  users: ['users', 'groups'],
  units: ['units'],
  cron: ['cron'],
  sysctl: ['sysctl'],
  firewall: ['firewall'],
};

/** Throws NOT_FOUND when the host has no blueprint that was backed up, LIMIT_EXCEEDED when it is too large for a message. */
export async function blueprintFor(
  { catalog, fileContent }: BlueprintDeps,
  hostId: string,
  step: Rebuild,
): Promise<NonNullable<ResolvedData['blueprint']>> {
  const sources = await sourcesOfHost(catalog.pool, hostId);
  const source = sources.find((one) => engineOf(one)?.type === 'blueprint');
  const latest = source === undefined ? undefined : (await latestSnapshots(catalog.pool, [source.id])).get(source.id);
  if (source === undefined || latest === undefined) {
    throw new HoldfastError('NOT_FOUND', 'the primary has no blueprint that was backed up', {
      hint: 'Add one: holdfast source add HOST/blueprint --type blueprint; then: holdfast backup HOST/blueprint',
    });
  }
  const parts = Object.entries(NEEDS).filter(([part]) => step[part as keyof typeof NEEDS]);
  const blueprint: Partial<Record<SectionName, Record<string, unknown>>> = {};
  for (const name of ['system' as const, ...new Set(parts.flatMap(([, names]) => names))]) {
    const pieces: Buffer[] = [];
    for await (const piece of fileContent(source.domainId, latest.latest.id, sectionPath(name), RESOLVED_MAX_BYTES)) {
      // The piece is the reader's, and is overwritten by the next.
      pieces.push(Buffer.from(piece));
    }
    blueprint[name] = Object.fromEntries(decodeSection(Buffer.concat(pieces)));
  }
  return blueprint as NonNullable<ResolvedData['blueprint']>;
}
