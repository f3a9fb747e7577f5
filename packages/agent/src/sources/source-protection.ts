// The standing protection of this host's sources, as the controller's list says: a guard for each source that has one.
//
// Invariants (source-protection.test.ts): G1 a source that was changed has its old guard ended before the new one begins; G2
// after a stop no guard runs; G3 an engine that can't be loaded is reported, and keeps no other source from its guard; G4 a source
// that is not listed any more, or became another server, leaves nothing behind there (take-back.ts); one whose agent stops does.

import { isDeepStrictEqual } from 'node:util';
import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { SourceSpec } from '../jobs/job.ts';
import type { Guard, GuardDeps } from './engine.ts';
import { engineTypeOf, type EngineRegistry } from './registry.ts';
import { TakeBack } from './take-back.ts';

export interface SourceProtection {
  /** The whole list; what is not in it is not protected any more. */
  update(sources: readonly SourceSpec[]): void;
  stop(): Promise<void>;
}

export interface ProtectionDeps extends GuardDeps {
  readonly registry: EngineRegistry;
  forgetReport(sourceId: string): void;
}

interface Guarded {
  readonly spec: SourceSpec;
  /** Undefined: this source needs none. */
  readonly guard: Promise<Guard | undefined>;
  /** Set before the end is waited for: an engine that is still loading must not begin. */
  ended: boolean;
}

/** Whether a source may need a guard at all: without one no engine is loaded. */
export function needsGuard(source: SourceSpec): boolean {
  return source.type === 'engine' || source.files.continuous;
}

export function newSourceProtection(deps: ProtectionDeps): SourceProtection {
  const guarded = new Map<string, Guarded>();
  const takeBack = new TakeBack(deps);
  let stopped = false;

  const begin = (spec: SourceSpec, before: Promise<void>): void => {
    const load = async (): Promise<Guard | undefined> => {
      await before;
      await takeBack.free(spec.sourceId);
      const engine = await deps.registry.engine(engineTypeOf(spec));
      return stopped || entry.ended ? undefined : engine.log?.(spec, deps);
    };
    const guard = load().catch((thrown: unknown) => {
      const error = toHoldfastError(thrown);
      deps.log.error('source.not-guarded', { sourceId: spec.sourceId, error });
      deps.report({ sourceId: spec.sourceId, watching: 'off', note: error.message });
      return undefined;
    });
    const entry: Guarded = { spec, guard, ended: false };
    guarded.set(spec.sourceId, entry);
  };
  const end = async (sourceId: string): Promise<void> => {
    const entry = guarded.get(sourceId);
    if (entry === undefined) return;
    entry.ended = true;
    guarded.delete(sourceId);
    try {
      await (await entry.guard)?.stop();
    } catch (error) {
      deps.log.warn('source.stop-failed', { sourceId, error });
    }
  };
  return {
    update(sources) {
      if (stopped) return;
      const wanted = new Map(sources.filter(needsGuard).map((spec) => [spec.sourceId, spec]));
      const ending = new Map<string, Promise<void>>();
      for (const [sourceId, { spec }] of guarded) {
        if (isDeepStrictEqual(wanted.get(sourceId), spec)) continue;
        const next = sources.find((other) => other.sourceId === sourceId);
        ending.set(sourceId, end(sourceId));
        deps.forgetReport(sourceId);
        if (next !== undefined && !wanted.has(sourceId)) {
          deps.report({ sourceId, watching: 'off', note: '' });
        }
      }
      for (const [sourceId, spec] of wanted) {
        if (!guarded.has(sourceId)) begin(spec, ending.get(sourceId) ?? Promise.resolve());
      }
      void takeBack.update(sources, Promise.all(ending.values()));
    },
    async stop() {
      stopped = true;
      await Promise.all([takeBack.stop(), ...Array.from(guarded.keys(), (sourceId) => end(sourceId))]);
    },
  };
}
