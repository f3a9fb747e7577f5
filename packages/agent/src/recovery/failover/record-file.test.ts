import { expect } from 'chai';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newHostRecord } from '@holdfast/shared/failover/commands';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import { systemFiles, type DurableFiles } from '../../link/durable-file.ts';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { knownApplications, RecordFiles, type StoredRecord } from './record-file.ts';

const ID = '2f9e8f0e-5d2a-4a51-a0c6-1d1c53a6fb10';
const stored = (epoch: number): StoredRecord => ({
  record: { ...newHostRecord('h1', '7/1'), highestEpoch: epoch, servingEpoch: epoch, standing: { controller: 4 } },
  activatedEpoch: epoch,
  servedBoot: 'boot',
  forced: [],
});

describe('what a host keeps of an application', () => {
  let state = '';
  beforeEach(() => (state = scratchDirectory()));
  afterEach(removeScratchDirectories);

  it('RF3 is nothing before it was told of it, and comes back as it was', () => {
    const files = new RecordFiles(state, ID);
    expect(files.load()).to.equal(undefined);
    files.save(stored(3));
    expect(files.load()).to.deep.equal(stored(3));
    const spec = { id: ID, plan: 'shop', services: Buffer.from('{"a":1}') } as unknown as ApplicationSpec;
    files.saveSpec(spec);
    expect(files.loadSpec()).to.deep.equal(spec);
    expect(knownApplications(state)).to.deep.equal([ID]);
    files.forget();
    expect(knownApplications(state)).to.deep.equal([]);
  });

  it('RF1 a write that stops between any two steps leaves the old record or the new one', () => {
    for (let stopAfter = 0; stopAfter < 6; stopAfter++) {
      new RecordFiles(state, ID).save(stored(1));
      let steps = 0;
      const step =
        <T extends unknown[]>(action: (...words: T) => void) =>
        (...words: T): void => {
          if (steps++ >= stopAfter) throw new Error('no power');
          action(...words);
        };
      const failing: DurableFiles = {
        ...systemFiles,
        createSynced: step((path: string, bytes: Uint8Array) => systemFiles.createSynced(path, bytes)),
        rename: step((from: string, to: string) => systemFiles.rename(from, to)),
        syncDirectory: step((path: string) => systemFiles.syncDirectory(path)),
      };
      try {
        new RecordFiles(state, ID, failing).save(stored(2));
      } catch (error) {
        expect(String(error)).to.contain('no power');
      }
      expect([1, 2]).to.include(new RecordFiles(state, ID).load()?.record.highestEpoch);
    }
  });

  it('RF2 a flipped, cut or emptied file is refused with words', () => {
    const files = new RecordFiles(state, ID);
    files.save(stored(5));
    const path = join(files.directory, 'record.json');
    const text = readFileSync(path, 'utf8');
    const at = text.indexOf('highestEpoch') + 'highestEpoch'.length + 4;
    const damages = [text.slice(0, -3), '', `${text.slice(0, at)}9${text.slice(at + 1)}`, '{}'];
    for (const damaged of damages) {
      writeFileSync(path, damaged);
      expect(() => files.load(), damaged.slice(0, 60))
        .to.throw(/serves and grants nothing|is damaged/)
        .with.property('code', 'DAMAGED');
    }
  });
});
