// What every type of step must keep, on real things: files, processes, addresses, name servers.
//
// SC1 a precheck changes nothing, and leaves no record; SC2 it is not done before, and done after it was applied; SC3 applying it again is harmless;
// SC4 what was applied is verified, and no longer once it was taken back; SC5 a restarted agent knows the same; SC6 while a program
// of a killed agent runs, no probe says that the step is not done.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import { eventually } from '../../../testing/eventually.ts';
import { removeScratchDirectories, scratchDirectory } from '../../../testing/scratch-directory.ts';
import type { HostStep } from '../../contract.ts';
import { RUN, stepHost } from './step-host.ts';

export interface StepFixture {
  readonly spec: HostStepSpec;
  /** Besides the defaults of an order. */
  readonly given?: Partial<HostStep>;
  /** What the step is about, as it is now. For a step that only looks: whatever it looks at. */
  state(): string | Promise<string>;
  /** Present: it changes something, and can be taken back (or not). Absent: it only looks. */
  readonly changes?: { readonly back: boolean };
  /** Of a type that runs programs. */
  readonly slow?: {
    /** Whether the program waits. */
    begun(): boolean;
    /** The program goes on to its end. */
    release(): void;
    /** From now on programs wait. */
    hold(): void;
  };
  /** Where the work is done; absent: here. */
  within?(work: () => Promise<void>): Promise<void>;
  close(): void | Promise<void>;
}

/**
 * @param open makes the things that the step is about, in an empty directory
 * @param runsPrograms then the fixture makes them slow
 */
export function stepConformance(
  name: string,
  open: (dir: string) => Promise<StepFixture> | StepFixture,
  runsPrograms = false,
): void {
  describe(`a ${name} step`, () => {
    let fixture: StepFixture;
    let stateDir: string;
    beforeEach(async () => {
      stateDir = scratchDirectory();
      fixture = await open(scratchDirectory());
    });
    afterEach(async () => {
      await fixture.close();
      removeScratchDirectories();
    });
    const given = (attempt: number): Partial<HostStep> => ({ ...fixture.given, attempt });
    const test = (title: string, work: () => Promise<void>): void => {
      it(title, () => (fixture.within === undefined ? work() : fixture.within(work)));
    };
    const does = async (action: HostStep['action'], attempt: number, wanted: string): Promise<void> => {
      const report = await stepHost(stateDir).do(action, fixture.spec, given(attempt));
      expect(report.state, `${action}: ${report.message} ${report.output.toString()}`).to.equal(wanted);
      expect(report.message).not.to.equal('');
    };

    test('SC1 a precheck changes nothing, and leaves no record', async () => {
      const before = await fixture.state();
      await does('precheck', 1, 'ok');
      expect(await fixture.state()).to.equal(before);
      expect(existsSync(join(stateDir, 'steps'))).to.equal(false);
    });

    test('SC2 SC3 SC4 SC5 done once it was applied, however often, and no longer once it was taken back', async () => {
      const before = await fixture.state();
      if (fixture.changes !== undefined) await does('probe', 1, 'not-done');
      await does('apply', 1, 'ok');
      await does('probe', 1, 'done');
      await does('verify', 1, 'ok');
      const after = await fixture.state();
      if (fixture.changes !== undefined) expect(after).not.to.equal(before);
      await does('apply', 1, 'ok');
      expect(await fixture.state()).to.equal(after);
      await does('apply', 2, 'ok');
      expect(await fixture.state()).to.equal(after);
      await does('verify', 2, 'ok');
      expect(existsSync(join(stateDir, 'steps', RUN))).to.equal(fixture.changes !== undefined);

      await does('undo', 3, 'ok');
      if (fixture.changes?.back !== true) {
        expect(await fixture.state()).to.equal(after);
        return;
      }
      expect(await fixture.state()).to.equal(before);
      await does('probe', 3, 'not-done');
      await does('verify', 3, 'failed');
      await does('undo', 4, 'ok');
      expect(await fixture.state()).to.equal(before);
      await does('apply', 5, 'ok');
      expect(await fixture.state()).to.equal(after);
    });

    if (!runsPrograms) return;
    test('SC6 while a program of a killed agent runs, no probe says that it is not done', async () => {
      const { slow, spec } = fixture;
      if (slow === undefined) throw new Error('this fixture has no slow programs');
      slow.hold();
      const { services = {}, resolved = {} } = fixture.given ?? {};
      const words = [stateDir, JSON.stringify(spec), JSON.stringify({ services, resolved })];
      const program = join(import.meta.dirname, 'step-agent.ts');
      const agent = spawn(process.execPath, ['--conditions=holdfast-source', program, ...words], { stdio: 'inherit' });
      const gone = new Promise((resolve) => agent.once('exit', resolve));
      await eventually(() => slow.begun());
      agent.kill('SIGKILL');
      await gone;
      await does('probe', 1, 'running');
      const next = stepHost(stateDir).do('apply', spec, given(2));
      await does('probe', 1, 'running');
      slow.release();
      expect((await next).state, (await next).message).to.equal('ok');
      await does('probe', 2, 'done');
    });
  });
}
