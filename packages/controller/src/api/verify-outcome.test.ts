import { expect } from 'chai';

import { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';

import type { Snapshot } from '../browse/snapshots.ts';
import { rangeOf } from '../testing/log-fixture.ts';
import type { VerifyReport } from '../vault/contract.ts';
import { mergeOutcome, verdicts } from './verify-outcome.ts';

describe('the outcome of a verify', () => {
  const [asked, older] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const nothing: VerifyReport = {
    packsChecked: 1,
    objectsChecked: 1,
    bytesChecked: 1,
    damages: [],
    snapshots: [],
    logPieces: [],
  };
  const files = { named: [{ path: 'a/\xff', others: 3 }], more: true };
  const hurt = (id: Buffer): VerifyReport => ({
    ...nothing,
    snapshots: [{ snapshotId: id.toString('hex'), sourceId: 's', sequence: 7, objectIds: ['00'], files }],
  });
  const damages = [{ packId: 'p', offset: 5, lengthBytes: 9, what: 'a record is damaged', objectIds: [] }];
  const done = JobOutcome.fromPartial({ result: 'done' });
  const failed = JobOutcome.fromPartial({ result: 'failed', errorCode: 'DAMAGED', errorMessage: '3 damaged' });

  it('nothing found leaves what the agent said', () => {
    expect(mergeOutcome(done, nothing, [asked])).to.deep.equal(done);
    expect(mergeOutcome(failed, nothing, [asked])).to.deep.equal(failed);
  });

  it('threat 8 a hurt snapshot that was asked for fails it, and is named with its files', () => {
    for (const report of [hurt(asked), { ...hurt(asked), damages }]) {
      const outcome = mergeOutcome(done, report, [asked]);
      expect(outcome).to.include({ result: 'failed', errorCode: 'DAMAGED' });
      expect(outcome.warningsTotal).to.equal(BigInt(outcome.warnings.length));
      expect(outcome.warnings).to.have.length.greaterThan(0);
    }
    const [first, second, third] = mergeOutcome(done, hurt(asked), [asked]).warnings;
    expect(first?.message).to.contain('number 7');
    expect(second?.path).to.deep.equal(Buffer.from('a/\xff', 'latin1'));
    expect(second?.message).to.contain('the 3 entries behind it');
    expect(third?.message).to.contain('more damaged files');
  });

  it('threat 8 a lost piece of the log fails it, and is named with its range, its times and what it means', () => {
    const range = rangeOf(0x140, 0x150, { firstCommitAtMs: 1000, lastCommitAtMs: 2000 });
    const report = { ...nothing, logPieces: [{ sourceId: 's', range }] };
    const outcome = mergeOutcome(done, report, [asked]);
    expect(outcome).to.include({ result: 'failed', errorCode: 'DAMAGED' });
    expect(outcome.warnings.map(({ message }) => message)).to.deep.equal([
      'the log from 0/140 to 0/150 (timeline 1), with commits from 1970-01-01T00:00:01.000Z to 1970-01-01T00:00:02.000Z, is damaged or missing: what follows it can be reached only from a base that was taken later',
    ]);
  });

  it('damage that hurts other snapshots, or none, is a warning', () => {
    for (const report of [hurt(older), { ...nothing, damages }, { ...hurt(older), damages }]) {
      const outcome = mergeOutcome(done, report, [asked]);
      expect(outcome).to.include({ result: 'warnings', errorCode: '' });
      expect(outcome.warnings).to.have.length.greaterThan(0);
    }
    expect(mergeOutcome(done, hurt(older), [asked]).warnings[0]?.message).to.contain('number 7');
    expect(mergeOutcome(failed, hurt(older), [asked])).to.include({ result: 'failed', errorMessage: '3 damaged' });
  });

  it('damage of any snapshot that was asked about fails it, not of the newest alone', () => {
    expect(mergeOutcome(done, hurt(older), [asked, older])).to.include({ result: 'failed', errorCode: 'DAMAGED' });
  });

  it('says of each snapshot what it came to, and what the host found in the one that it opened', () => {
    const known = { sequence: 1, committedAt: new Date(5), entries: 4, files: 3, bytesTotal: 2 };
    const rows = [older, asked].map((id) => ({ ...known, id }) as Snapshot);
    const summary = { snapshotId: asked };
    const told = (outcome: JobOutcome, report: VerifyReport): unknown[] =>
      verdicts(outcome, report, rows).map((verdict) => [verdict.damagedObjects, verdict.opened]);
    const opened = JobOutcome.fromPartial({ ...done, summary });
    expect(told(opened, hurt(older))).to.deep.equal([
      [1n, false],
      [0n, true],
    ]);
    expect(told(JobOutcome.fromPartial({ ...failed, summary }), nothing)).to.deep.equal([
      [0n, false],
      [1n, true],
    ]);
  });
});
