// The standing protection of this host's sources, as the controller's list says.

import { isDeepStrictEqual } from 'node:util';
import type { SourceSpec } from '../jobs/job.ts';
import { protectContinuously, type ContinuousDeps, type ContinuousSource } from './continuous-source.ts';

export interface SourceProtection {
  /** The whole list; what is not in it is not protected any more. */
  update(sources: readonly SourceSpec[]): void;
  stop(): Promise<void>;
}

export function newSourceProtection(deps: ContinuousDeps & { forgetReport(sourceId: string): void }): SourceProtection {
  const protectedNow = new Map<string, { readonly spec: SourceSpec; readonly source: ContinuousSource }>();

  const end = (sourceId: string): void => {
    const known = protectedNow.get(sourceId);
    protectedNow.delete(sourceId);
    known?.source.stop().catch((error: unknown) => deps.log.warn('source.stop-failed', { sourceId, error }));
  };
  return {
    update(sources) {
      const wanted = new Map(sources.filter((spec) => spec.files.continuous).map((spec) => [spec.sourceId, spec]));
      for (const [sourceId, { spec }] of protectedNow) {
        if (isDeepStrictEqual(wanted.get(sourceId), spec)) continue;
        end(sourceId);
        deps.forgetReport(sourceId);
        if (sources.some((other) => other.sourceId === sourceId) && !wanted.has(sourceId)) {
          deps.report({ sourceId, watching: 'off', note: '' });
        }
      }
      for (const [sourceId, spec] of wanted) {
        if (!protectedNow.has(sourceId)) protectedNow.set(sourceId, { spec, source: protectContinuously(spec, deps) });
      }
    },
    async stop() {
      const all = Array.from(protectedNow.values(), ({ source }) => source.stop());
      protectedNow.clear();
      await Promise.all(all);
    },
  };
}
