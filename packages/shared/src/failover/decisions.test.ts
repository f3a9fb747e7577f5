import { expect } from 'chai';
import { decideBoot } from './boot-gate.ts';
import { OVERRIDE_GAP, overrideCatalog, refuseAutomatic, verifyCatalog } from './catalog-epoch.ts';
import { adoptCatalog, newHostRecord, refuseCommand, reportOf } from './commands.ts';
import { judge, type Signs } from './detection.ts';
import { applyToRow, type LeaseRow } from './lease-row.ts';
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

  describe('a catalog that was restored, and a host that is off for good', () => {
    const restored: LeaseRow = { ...row, identity: 'before', epoch: 3, nextEpoch: 4 };
    const says = (host: string, highestEpoch: number, servingEpoch: number, catalog = 'a') =>
      [host, reportOf({ ...newHostRecord(host, catalog), highestEpoch, servingEpoch })] as const;

    it('is overridden only while it is neither verified nor to be: the lost host is silent, and the other one has reported to it', () => {
      const one = new Map([says('web-2', 2, 2)]);
      expect(overrideCatalog(row, 'a', 'web-1', one)).to.equal('verified');
      expect(overrideCatalog(restored, 'a', 'web-3', one)).to.equal('not a host of it');
      expect(overrideCatalog(restored, 'a', 'web-1', new Map())).to.equal('the other one is silent');
      expect(overrideCatalog(restored, 'a', 'web-1', new Map([says('web-2', 2, 2, 'before')]))).to.equal(
        'the other one is silent',
      );
      const both = new Map([says('web-2', 2, 2), says('web-1', 1, 1)]);
      expect(overrideCatalog(restored, 'a', 'web-1', both)).to.equal('has reported');
      expect(overrideCatalog(restored, 'a', 'web-1', one)).to.include({ survivor: 'web-2', goesOn: true });
    });

    it('who served last is ordered to go on, far above whatever the lost one can have served under; it is found when it is back', () => {
      const found = overrideCatalog(restored, 'a', 'web-2', new Map([says('web-1', 3, 3)]));
      if (typeof found === 'string') throw new Error(found);
      const after = applyToRow(restored, found, 'a', 'a')!;
      expect(after).to.include({
        identity: 'a',
        phase: 'ordered',
        confirmed: true,
        primary: 'web-2',
        standby: 'web-1',
      });
      expect(after.nextEpoch).to.equal(3 + OVERRIDE_GAP);
      const served = applyToRow(after, { kind: 'promoted', host: 'web-1', epoch: after.nextEpoch }, 'a', 'a')!;
      expect(served).to.include({ primary: 'web-1', standby: 'web-2', automatic: false });
      expect(served.disarmed).to.be.greaterThan(0);
      const back = (epoch: number) => new Map([says('web-1', served.epoch, served.epoch), says('web-2', epoch, epoch)]);
      expect(claimsCollide(served, 'a', back(4))).to.equal(true);
      expect(claimsCollide(served, 'a', back(2))).to.equal(false);
    });

    it('who did not serve last waits for a person, and the lost one may come back as the primary that it was', () => {
      const found = overrideCatalog(restored, 'a', 'web-1', new Map([says('web-2', 3, 0)]));
      if (typeof found === 'string') throw new Error(found);
      const after = applyToRow(restored, found, 'a', 'a')!;
      expect(after).to.include({ phase: 'open', primary: 'web-1', epoch: 3, nextEpoch: 3 + OVERRIDE_GAP });
      expect(after.disarmed).to.be.greaterThan(0);
      expect(claimsCollide(after, 'a', new Map([says('web-1', 3, 3), says('web-2', 3, 0)]))).to.equal(false);
      expect(applyToRow(after, found, 'a', 'a')).to.equal(undefined);
    });

    it('an order that the restored row knows of may have been carried out: the epochs that are left out begin above it', () => {
      const ordered: LeaseRow = { ...restored, phase: 'ordered' };
      const found = overrideCatalog(ordered, 'a', 'web-2', new Map([says('web-1', 3, 3)]));
      expect(found).to.include({ nextEpoch: 4 + OVERRIDE_GAP, goesOn: true });
    });
  });
});
