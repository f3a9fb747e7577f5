// Which engine knows which type of source. A new one is a folder beside this file and a line here.

import { HoldfastError } from '@holdfast/shared/base/errors';
import type { DiscoveredSource, JobReport, Pipelines, SourceSpec } from '../jobs/job.ts';
import { EMPTY_SUMMARY } from '../jobs/outcome.ts';
import { Warnings } from '../jobs/warnings.ts';
import type { LookDeps, SourceEngine } from './engine.ts';

export interface EngineRegistry {
  /** Throws INVALID_ARGUMENT for a type that this agent does not know. */
  engine(type: string): Promise<SourceEngine>;
  readonly types: readonly string[];
}

/** Loaded on first use: an agent that protects no database holds no driver. @param watchBudget directories watched at most */
export function engineRegistry(watchBudget: number): EngineRegistry {
  return registryOf({
    files: async () => (await import('./files/engine.ts')).newFileEngine(watchBudget),
    mariadb: async () => (await import('./mariadb/engine.ts')).newMariaDbEngine(),
    postgres: async () => (await import('./postgres/engine.ts')).postgresEngine,
    redis: async () => (await import('./redis/engine.ts')).redisEngine,
    command: async () => (await import('./command/engine.ts')).commandEngine,
    sqlite: async () => (await import('./sqlite/engine.ts')).sqliteEngine,
    image: async () => (await import('./image/engine.ts')).imageEngine,
    blueprint: async () => (await import('./blueprint/engine.ts')).newBlueprintEngine(),
  });
}

export function registryOf(loaders: Readonly<Record<string, () => Promise<SourceEngine>>>): EngineRegistry {
  const loaded = new Map<string, Promise<SourceEngine>>();
  const types = Object.keys(loaders);
  return {
    types,
    async engine(type) {
      const known = loaded.get(type);
      if (known !== undefined) return known;
      const load = Object.hasOwn(loaders, type) ? loaders[type] : undefined;
      if (load === undefined) {
        throw new HoldfastError('INVALID_ARGUMENT', `this agent knows no sources of type ${JSON.stringify(type)}`, {
          hint: `It knows ${types.join(', ')}; a newer agent may know more.`,
        });
      }
      const engine = load();
      loaded.set(type, engine);
      // A file that could not be read now may be readable later.
      engine.catch(() => loaded.delete(type));
      return engine;
    },
  };
}

/** The engine's name for a source. */
export function engineTypeOf(source: SourceSpec): string {
  return source.type === 'files' ? 'files' : source.engine.type;
}

/** What works on jobs of sources: each by the engine of the source that it is about. */
export function pipelinesOf(registry: EngineRegistry): Omit<Pipelines, 'step' | 'sandbox'> {
  return {
    async backup({ source }) {
      const engine = await registry.engine(engineTypeOf(source));
      return (job, deps, signal, onProgress) => engine.base(job, deps, signal, onProgress);
    },
    async restore({ engine: restored }) {
      const engine = await registry.engine(restored?.source.type ?? 'files');
      return (job, deps, signal, onProgress) => engine.restore(job, deps, signal, onProgress);
    },
    async verify({ restoreTest }) {
      if (restoreTest === undefined) {
        const { runVerify } = await import('../restore/restore.ts');
        return (job, deps, signal, onProgress) =>
          runVerify(job, deps, signal, onProgress, async (type) =>
            registry.types.includes(type) ? (await registry.engine(type)).contentCheck?.(job, deps, signal) : undefined,
          );
      }
      const engine = await registry.engine(restoreTest.source.type);
      return (job, deps, signal, onProgress) => engine.verify(job, deps, signal, onProgress);
    },
    async look() {
      return async (job, { clock, log }, signal) => {
        const startedAt = clock.monotonicMs();
        const deps: LookDeps = { clock, log, signal };
        const report = job.kind === 'check' ? await check(registry, job.source, deps) : await discover(registry, deps);
        if (signal.aborted) throw new HoldfastError('CANCELLED', 'the look was cancelled');
        return { ...report, summary: { ...EMPTY_SUMMARY, durationMs: Math.round(clock.monotonicMs() - startedAt) } };
      };
    },
  };
}

async function check(
  registry: EngineRegistry,
  source: SourceSpec,
  deps: LookDeps,
): Promise<Omit<JobReport, 'summary'>> {
  const engine = await registry.engine(engineTypeOf(source));
  return { findings: await engine.check(source, deps), warnings: [], warningsTotal: 0 };
}

/** One engine that can't look doesn't keep the others from looking. */
async function discover(registry: EngineRegistry, deps: LookDeps): Promise<Omit<JobReport, 'summary'>> {
  const warnings = new Warnings<'undiscovered'>();
  const discovered: DiscoveredSource[] = [];
  for (const type of registry.types) {
    try {
      const engine = await registry.engine(type);
      discovered.push(...(await engine.discover(deps)));
    } catch (error) {
      warnings.add('undiscovered', '', `${type}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { discovered, warnings: warnings.kept, warningsTotal: warnings.total };
}
