// What every engine promises (sources/engine.ts), asked of each against its real server. An engine's own test gives a rig and
// calls `engineConformance`; what is special to the engine stands in its own tests beside it.

import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { SourceSpec } from '../jobs/job.ts';
import type { SourceEngine } from '../sources/engine.ts';
import { EngineBench } from './engine-bench.ts';
import { eventually } from './eventually.ts';

/** A real server (or tree, or program) with something in it. */
export interface EngineRig {
  readonly engine: SourceEngine;
  /** As an operator would add it. */
  readonly source: SourceSpec;
  /** The same, of a server that is not there. */
  readonly broken: SourceSpec;
  /** Where files of a restore go; must be below a directory of the test's own, not made yet. */
  target(name: string): string;
  /** Changes some of the content; returns when it is committed. */
  change(): Promise<void>;
  /** What the server holds, in a word that is the same for the same content. */
  fingerprint(): Promise<string>;
  /** The same of what was restored into `target`. */
  restored(target: string): Promise<string>;
  /** Removes everything. */
  close(): Promise<void>;
}

export interface ConformanceOptions {
  /** Whether `discover` is expected to find the rig's server. */
  readonly discoverable: boolean;
  /** Where the guard has to run for a base to be made (it stores the log). */
  readonly guarded?: boolean;
  /** A byte of the vault's content is changed and `verify` has to say so; false where the content fits in nodes alone. */
  readonly timeoutMs?: number;
}

export function engineConformance(name: string, open: () => Promise<EngineRig>, options: ConformanceOptions): void {
  describe(`engine of ${name}: what every engine promises`, function conformance() {
    this.timeout(options.timeoutMs ?? 120_000);
    let rig: EngineRig;
    let bench: EngineBench;

    before(async () => {
      rig = await open();
      bench = new EngineBench(rig);
      if (options.guarded === true) bench.guard();
    });
    after(async () => {
      await bench?.close();
      await rig?.close();
    });

    it('check finds nothing that would make a backup fail, and each finding says what it is about', async () => {
      const findings = await rig.engine.check(rig.source, bench.look());
      expect(findings.filter(({ level }) => level === 'error')).to.deep.equal([]);
      expect(findings.length).to.be.greaterThan(0);
      for (const { subject, message } of findings) expect([subject, message]).not.to.include('');
    });

    it('check names what is wrong with a server that is not there, with a remedy, and does not throw', async () => {
      const errors = (await rig.engine.check(rig.broken, bench.look())).filter(({ level }) => level === 'error');
      expect(errors.length).to.be.greaterThan(0);
      expect(errors[0]!.remedy).not.to.equal('');
    });

    it('check refuses a setting that it does not know', async function unknownSetting() {
      if (rig.source.type !== 'engine') this.skip();
      const { engine } = rig.source;
      const source = { ...rig.source, engine: { ...engine, settings: { ...engine.settings, nonsense: '1' } } };
      const findings = await rig.engine.check(source, bench.look());
      expect(findings.find(({ subject }) => subject === 'nonsense')).to.have.property('level', 'error');
    });

    it('discover answers within its own means, with a command for each', async () => {
      const found = await rig.engine.discover(bench.look());
      if (options.discoverable) expect(found.length).to.be.greaterThan(0);
      for (const { command } of found) expect(command).to.match(/^holdfast source add \S+ --host HOST /);
    });

    it('a base comes back equal, and so does an older one after a newer', async () => {
      const first = await rig.fingerprint();
      const older = await bench.base();
      await rig.change();
      const second = await rig.fingerprint();
      expect(second).not.to.equal(first);
      const newer = await bench.base();
      expect(newer.report.warnings, JSON.stringify(newer.report.warnings)).to.deep.equal([]);
      await bench.restore(newer.snapshot, rig.target('newer'));
      expect(await rig.restored(rig.target('newer'))).to.equal(second);
      await bench.restore(older.snapshot, rig.target('older'));
      expect(await rig.restored(rig.target('older'))).to.equal(first);
    });

    it('verify reads every byte of a snapshot, and finds one that was changed', async () => {
      const { snapshot } = await bench.base();
      const well = await bench.verify(snapshot);
      expect(well.failure).to.equal(undefined);
      const undo = bench.damage(snapshot);
      let end: unknown;
      try {
        end = (await bench.verify(snapshot)).failure;
      } catch (error) {
        end = error;
      }
      undo();
      expect(end).to.have.property('code', 'DAMAGED');
    });

    it('a cancelled base leaves no snapshot and no process', async () => {
      const before = bench.vault.snapshots.length;
      const processes = childProcesses();
      const abort = new AbortController();
      const ended = bench.run(abort.signal, () => abort.abort());
      abort.abort();
      const error = await ended.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).to.be.instanceOf(HoldfastError).with.property('code', 'CANCELLED');
      expect(bench.vault.snapshots.length).to.equal(before);
      await eventually(() => childProcesses().every((pid) => processes.includes(pid)));
    });

    it('a base of a server that is not there fails with a sentence, and leaves no snapshot', async () => {
      const before = bench.vault.snapshots.length;
      const error = await bench.run(new AbortController().signal, undefined, rig.broken).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).to.be.instanceOf(HoldfastError).with.property('code').that.does.not.equal('INTERNAL');
      expect(bench.vault.snapshots.length).to.equal(before);
    });
  });
}

/** Processes below this one. */
function childProcesses(): string[] {
  const found: string[] = [];
  for (const task of readdirSync('/proc/self/task')) {
    const children = readFileSync(`/proc/self/task/${task}/children`, 'utf8').trim();
    if (children !== '') found.push(...children.split(' '));
  }
  return found;
}
