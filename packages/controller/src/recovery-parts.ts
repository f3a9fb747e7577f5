// Recovery, put together: who serves (failover) → runs (engine) → who is told (notify), what is promised (objectives), what is left (evidence).
//
// Tested in api/recovery.db.test.ts.

import { systemClock } from '@holdfast/shared/runtime/clock';

import { precheckJob } from './api/recovery-check.ts';
import { jobsFor } from './api/recovery-jobs.ts';
import { sourceCandidates, suspicionOf } from './api/recovery-points.ts';
import { reprotect } from './api/recovery-reprotect.ts';
import type { RecoveryDeps } from './api/recovery-deps.ts';
import { planKeep, planRelease, warmFactsOf, wishesOf } from './api/recovery-warm.ts';
import { readOutcome } from './api/recovery-wire.ts';
import { knowSources } from './api/source-facts.ts';
import { readFile } from './browse/file-content.ts';
import type { ManifestsDeps } from './browse/manifests.ts';
import type { Catalog } from './catalog/catalog.ts';
import { listDomains } from './fleet/domains.ts';
import type { FleetEvents } from './fleet/fleet-events.ts';
import type { MasterKey } from './fleet/master-key.ts';
import type { Failover } from './recovery/contract.ts';
import { rollbackFacts } from './recovery/failover/rollback-facts.ts';
import { openEvidence } from './recovery/evidence/evidence.ts';
import { openNotifier, type RunningNotifier } from './recovery/notify/notifier.ts';
import { planContacts } from './recovery/notify/plan-contacts.ts';
import { watchPlans, type DrivenPlan } from './recovery/objectives/plan-watch.ts';
import { standbyFacts, standbyLooks } from './recovery/objectives/standby-looks.ts';
import { watchStandbys } from './recovery/objectives/standby-watch.ts';
import { appliedPlans } from './recovery/plans/plan-store.ts';
import { openEngine } from './recovery/runs/engine.ts';
import { followSuspicion } from './recovery/runs/follow-suspicion.ts';
import { followNews } from './recovery/runs/run-news.ts';
import { realRunIsLive } from './recovery/runs/run-store.ts';
import { keepWarmCopies } from './recovery/warm/warm-keeper.ts';
import type { Settings } from './settings.ts';
import type { Vault } from './vault/contract.ts';
import type { Log } from '@holdfast/shared/runtime/log';

export interface RecoveryOptions {
  readonly catalog: Catalog;
  readonly masterKey: MasterKey;
  readonly settings: Settings;
  readonly events: FleetEvents;
  readonly vault: Vault;
  readonly failover: Failover;
  readonly manifests: ManifestsDeps;
  readonly replica: string;
  readonly version: string;
  readonly log: Log;
}

export interface Recovery {
  /** What its service is made of. */
  readonly service: RecoveryDeps;
  readonly notifier: RunningNotifier;
  /** Writes nothing any more afterwards; another replica goes on. */
  stop(): Promise<void>;
}

/** Failover must be there; runs of what it drives go on at once. */
export async function openRecovery(options: RecoveryOptions): Promise<Recovery> {
  const { catalog, masterKey, events, vault, failover, replica, settings } = options;
  const { pool } = catalog;
  const log = (event: string, fields: Record<string, unknown>): void => options.log.info(event, fields);
  const notifier = openNotifier({
    catalog,
    clock: systemClock,
    random: Math.random,
    log,
    settings: settings.notify,
    ...planContacts(pool, masterKey),
  });
  const evidence = await openEvidence({ catalog, masterKey, version: options.version });
  const fileContent: RecoveryDeps['fileContent'] = async function* content(domainId, snapshotId, path, maxBytes) {
    const domain = (await listDomains(pool)).find((one) => one.id === domainId);
    if (domain !== undefined) yield* readFile(options.manifests, domain, snapshotId, path, maxBytes);
  };
  const candidates: RecoveryDeps['candidates'] = (...asked) => sourceCandidates(pool, ...asked);
  const jobs = { catalog, vault, fileContent };
  const atOnce = settings.recovery.runs_at_once;
  const engine = openEngine({
    catalog,
    events,
    replica,
    failover,
    notifier,
    clock: systemClock,
    atOnce,
    log,
    readOutcome,
    jobsFor: (...order) => jobsFor(jobs, ...order),
    reprotect: (view) => reprotect({ catalog, events, fileContent }, view),
  });
  const common = { catalog, events, replica, failover, candidates };
  const unfollow = followNews({ ...common, notifier, engine, log });
  const suspicions = followSuspicion({ catalog, events, replica, failover, engine, clock: systemClock, atOnce, log });
  const plans = await appliedPlans(pool, () => undefined);
  for (const { id } of plans) {
    const look = failover.look(id);
    if (look?.driving === true) await engine.drive(id, look.row.term);
    suspicions.look(id);
  }
  const further: RecoveryDeps['further'] = async (applied, serving) => {
    const unreported = new Set(failover.look(applied.id)?.unreported);
    const names = [...applied.hostIds].flatMap(([name, id]) => (unreported.has(id) ? [name] : []));
    const looks = standbyFacts(applied.plan, await standbyLooks(pool, applied.id), serving.standby);
    return [...rollbackFacts(applied.name, names), ...looks, ...(await warmFactsOf({ catalog }, applied, serving))];
  };
  const suspicion: RecoveryDeps['suspicion'] = (hostId, names) => suspicionOf(pool, hostId, names);
  const watch = watchPlans({
    pool,
    further,
    suspicion,
    knowSources: (sources) => knowSources(pool, sources),
    driven: () => drivenPlans(options),
    notifier,
    evidence,
    notify: settings.notify,
    clock: systemClock,
    // A run that is not over leaves no standby that could take over.
    heard: (planId, health) => void setReady(options, planId, health.ready),
    log,
  });
  const standbys = watchStandbys({
    catalog,
    events,
    clock: systemClock,
    readOutcome,
    precheck: (...asked) => precheckJob(jobs, ...asked),
    driven: () => drivenPlans(options),
    log,
  });
  const warm = keepWarmCopies({
    catalog,
    events,
    clock: systemClock,
    log,
    wishes: async () => {
      const driven = await drivenPlans(options);
      const wishes = await Promise.all(driven.map(({ applied, serving }) => wishesOf({ catalog }, applied, serving)));
      // What was removed is nobody's: any replica releases it.
      const applied = new Set((await appliedPlans(pool, () => undefined)).map(({ id }) => id));
      const mine = (planId: string): boolean => !applied.has(planId) || driven.some((one) => one.applied.id === planId);
      return { wishes: wishes.flat(), mine };
    },
    planKeep: (wish, takeOver) => planKeep({ catalog, vault }, wish, takeOver),
    planRelease: (copy) => planRelease({ catalog }, copy),
  });
  const service = {
    ...common,
    ...jobs,
    masterKey,
    readOutcome,
    evidence,
    clock: systemClock,
    notify: settings.notify,
    further,
    suspicion,
  };
  return {
    service,
    notifier,
    async stop() {
      unfollow();
      await suspicions.stop();
      await warm.stop();
      await standbys.stop();
      await watch.stop();
      await engine.stop();
      await notifier.stop();
    },
  };
}

async function setReady({ catalog, failover, log }: RecoveryOptions, planId: string, ready: boolean): Promise<void> {
  try {
    failover.setReady(planId, ready && !(await realRunIsLive(catalog.pool, planId)));
  } catch (error) {
    log.warn('plan.readiness-failed', { plan: planId, error });
  }
}

async function drivenPlans({ catalog, failover }: RecoveryOptions): Promise<DrivenPlan[]> {
  const driven: DrivenPlan[] = [];
  for (const applied of await appliedPlans(catalog.pool, () => undefined)) {
    const look = failover.look(applied.id);
    if (look?.driving !== true) continue;
    driven.push({ applied, serving: look.row, running: await realRunIsLive(catalog.pool, applied.id) });
  }
  return driven;
}
