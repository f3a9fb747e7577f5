import { expect } from 'chai';
import { decideBoot } from './boot-gate.ts';
import { refuseAutomatic, verifyCatalog } from './catalog-epoch.ts';
import { adoptCatalog, newHostRecord, refuseCommand, reportOf } from './commands.ts';
import { judge, type Signs } from './detection.ts';
import type { LeaseRow } from './lease-row.ts';
import { claimsCollide } from './split-brain.ts';
import { FAILOVER_TIMING as timing } from './timing.ts';

const failing = { answered: false, sawJustNow: false, outside: true };
const dead: Signs = {
  primarySilentMs: 7000,
  standbySilentMs: 100,
  words: [failing, failing],
  agree: 2,
  roundOver: true,
};

describe('failover: what one look decides', () => {
  it('D1: each single piece of knowledge in the primary’s favour keeps it from being dead', () => {
    expect(judge(dead, timing)).to.equal('dead');
    const doubts: Partial<Signs>[] = [
      { primarySilentMs: 5999 },
      { standbySilentMs: 6000 },
      { words: [failing] },
      { words: [failing, { ...failing, answered: true }] },
      { words: [failing, failing, { ...failing, sawJustNow: true }] },
      {
        words: [
          { ...failing, outside: false },
          { ...failing, outside: false },
        ],
      },
      { roundOver: false },
    ];
    for (const doubt of doubts)
      expect(judge({ ...dead, ...doubt }, timing), JSON.stringify(doubt)).to.not.equal('dead');
  });

  it('C1: a command of a lower term, epoch or attempt is refused', () => {
    const record = { ...newHostRecord('web-2', 'a'), highestEpoch: 5, servingEpoch: 4, term: 3, attempt: 7 };
    const command = { catalog: 'a', term: 3, epoch: 6, attempt: 8 };
    expect(refuseCommand(record, command)).to.equal(undefined);
    expect(refuseCommand(record, { ...command, term: 2 })).to.equal('lower term');
    expect(refuseCommand(record, { ...command, epoch: 4 })).to.equal('lower epoch');
    expect(refuseCommand(record, { ...command, attempt: 7 })).to.equal('lower attempt');
  });

  it('C2: a catalog that was replaced stays refused', () => {
    const record = adoptCatalog(newHostRecord('web-2', 'a'), 'b');
    expect(refuseCommand(record, { catalog: 'a', term: 9, epoch: 9, attempt: 9 })).to.equal('other catalog');
    expect(adoptCatalog(record, 'a')).to.equal(record);
  });

  it('G1, G2, G3: the boot gate asks, then looks for the address, and starts only unless a higher epoch is known', () => {
    const knowledge = { servingEpoch: 2, highestEpoch: 2, answers: [], askedForMs: 0, addressTaken: undefined };
    expect(decideBoot(knowledge, timing)).to.equal('ask');
    expect(decideBoot({ ...knowledge, answers: [3] }, timing)).to.equal('stay-down');
    expect(decideBoot({ ...knowledge, answers: [2] }, timing)).to.equal('start');
    const alone = { ...knowledge, askedForMs: 60_000 };
    expect(decideBoot(alone, timing)).to.equal('probe-address');
    expect(decideBoot({ ...alone, addressTaken: true }, timing)).to.equal('stay-down');
    expect(decideBoot({ ...alone, addressTaken: false }, timing)).to.equal('start');
    expect(decideBoot({ ...alone, highestEpoch: 3, addressTaken: false }, timing)).to.equal('stay-down');
  });

  it('a catalog is verified by the reports of both hosts, to this catalog, and goes on above them', () => {
    const first = reportOf({ ...newHostRecord('web-1', 'b'), highestEpoch: 3, servingEpoch: 1 });
    const second = reportOf({ ...newHostRecord('web-2', 'b'), highestEpoch: 3, servingEpoch: 3 });
    const both = new Map([
      ['web-1', first],
      ['web-2', second],
    ]);
    expect(verifyCatalog('b', ['web-1', 'web-2'], both)).to.include({ primary: 'web-2', epoch: 3, nextEpoch: 4 });
    expect(verifyCatalog('b', ['web-1', 'web-2'], new Map([['web-1', first]]))).to.equal(undefined);
    expect(verifyCatalog('c', ['web-1', 'web-2'], both)).to.equal(undefined);
    expect(refuseAutomatic({ synchronous: false })).to.be.a('string');
  });

  it('two hosts that claim one epoch, or one that nobody ordered, are told; an order under way and an unverified catalog are not', () => {
    const row: LeaseRow = {
      identity: 'a',
      phase: 'open',
      primary: 'web-1',
      standby: 'web-2',
      epoch: 2,
      nextEpoch: 3,
      grantSeq: 0,
      attempt: 0,
      serial: 0,
      disarmed: 0,
      orderSerial: 0,
      confirmed: false,
      automatic: false,
      driver: '',
      term: 1,
      beat: 0,
    };
    const claims = (first: number, second: number): Map<string, ReturnType<typeof reportOf>> =>
      new Map([
        ['web-1', reportOf({ ...newHostRecord('web-1', 'a'), servingEpoch: first })],
        ['web-2', reportOf({ ...newHostRecord('web-2', 'a'), servingEpoch: second })],
      ]);
    expect(claimsCollide(row, 'a', claims(2, 1))).to.equal(false);
    expect(claimsCollide(row, 'a', claims(0, 0))).to.equal(false);
    expect(claimsCollide(row, 'a', claims(2, 2))).to.equal(true);
    expect(claimsCollide(row, 'a', claims(2, 3))).to.equal(true);
    expect(claimsCollide(row, 'b', claims(2, 3))).to.equal(false);
    expect(claimsCollide({ ...row, phase: 'ordered' }, 'a', claims(2, 3))).to.equal(false);
    expect(claimsCollide({ ...row, phase: 'ordered' }, 'a', claims(2, 4))).to.equal(true);
  });
});
