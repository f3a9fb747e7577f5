// Protection after a failover: the new primary is backed up from the switch on, and after the commit what the old one held is kept before
// anything may overwrite it (recovery-diverged.ts).
//
// Invariant (recovery/runs/reprotect.db.test.ts): RP1 from the switch on every source of the plan, and the blueprint that a way back needs, is
// there on the new primary with the settings that it had, made once, whoever drives, and backed up at once.

import { randomUUID } from 'node:crypto';

import type { Plan } from '@holdfast/shared/recovery/plan';
import { SourceSpec } from '@holdfast/shared/rpc/gen/holdfast/v1/source';

import { appendAudit } from '../fleet/audit.ts';
import { insertSource, removedSource, sourcesOfHost, type Source } from '../fleet/sources.ts';
import { hasFence } from '../recovery/runs/run-machine.ts';
import type { Decision, RunView } from '../recovery/runs/run-view.ts';
import { isSettled } from '../recovery/runs/run-states.ts';
import { isRestore } from '../recovery/runs/step-policy.ts';
import { engineOf } from './engine-restore.ts';
import { backUp, keepDiverged, type DivergedDeps } from './recovery-diverged.ts';
import { withPort } from './recovery-restore.ts';

const AFTER_SWITCH = new Set(['running', 'paused', 'verifying', 'awaiting-commit', 'committed', 'reprotecting']);

/** What is due of it now; undefined: nothing. */
export async function reprotect(deps: DivergedDeps, view: RunView): Promise<Decision[] | undefined> {
  const { run, serving } = view;
  if (run.mode === 'drill' || !hasFence(view) || !AFTER_SWITCH.has(run.state)) return undefined;
  if (serving.primary !== run.toHost || serving.epoch < run.epoch) return undefined;
  // A plan without traffic has switched when everything is restored.
  const switched = view.steps.every(
    ({ spec, state }) => (spec.type !== 'traffic' && !isRestore(spec.type)) || isSettled(state),
  );
  if (run.protectedAt === null && switched) {
    await protect(deps, view);
    return [{ kind: 'protected' }];
  }
  return run.state === 'reprotecting' ? await keepDiverged(deps, view) : undefined;
}

/** RP1. */
async function protect({ catalog, events }: DivergedDeps, { run, plan }: RunView): Promise<void> {
  const there = await sourcesOfHost(catalog.pool, run.toHost);
  const before = await sourcesOfHost(catalog.pool, run.fromHost);
  const names = new Set([...plan.sources, ...before.filter(isBlueprint).map(({ name }) => name)]);
  for (const name of names) {
    const source = before.find((one) => one.name === name);
    if (source === undefined || there.some((one) => one.name === name)) continue;
    if (isBlueprint(source) && there.some(isBlueprint)) continue;
    const id = (await removedSource(catalog.pool, run.toHost, name)) ?? randomUUID();
    const spec = { ...movedSpec(SourceSpec.decode(source.spec), plan), sourceId: id };
    await catalog.transaction(async (client) => {
      await insertSource(client, { id, hostId: run.toHost, name, spec: Buffer.from(SourceSpec.encode(spec).finish()) });
      const subject = `${run.toName}/${name} (as ${run.fromName}/${name})`;
      await appendAudit(client, { domainId: run.domainId, actor: 'controller', action: 'source.add', subject });
      await events.tell(client, { kind: 'sources', hostId: run.toHost });
    });
  }
  for (const source of await sourcesOfHost(catalog.pool, run.toHost)) {
    if (plan.sources.includes(source.name) || isBlueprint(source))
      await backUp({ catalog, events }, source, `run ${run.id}`);
  }
}

function isBlueprint(source: Source): boolean {
  return engineOf(source)?.type === 'blueprint';
}

/** As it was, where the plan restored it to. */
function movedSpec(spec: SourceSpec, plan: Plan): SourceSpec {
  const restore = plan.steps.find((step) => isRestore(step.type) && 'source' in step && step.source === spec.name);
  if (restore === undefined || !('options' in restore)) return spec;
  const { type } = spec;
  if (type?.$case === 'files') {
    const isOne = type.value.paths.length === 1 && restore.target !== undefined;
    const paths = isOne && restore.target !== undefined ? [restore.target] : type.value.paths;
    return { ...spec, type: { $case: 'files', value: { ...type.value, paths } } };
  }
  if (type?.$case !== 'engine' || restore.port === undefined) return spec;
  const settings = withPort(type.value.settings, restore.port);
  return { ...spec, type: { $case: 'engine', value: { ...type.value, settings } } };
}
