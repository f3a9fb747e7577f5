import { expect } from 'chai';
import { findingsOf, type ServerState } from './check.ts';
import { connectionError, hbaHint } from './connection.ts';
import { parseDsn } from './dsn.ts';

const well: ServerState = {
  facts: {
    version: '15.14',
    versionNumber: 150_014,
    systemIdentifier: '7',
    walFileBytes: 1,
    pageBytes: 8192,
    dataDirectory: '/x',
    inRecovery: false,
    superuser: 'postgres',
  },
  role: { name: 'holdfast', replication: true, superuser: false, monitor: true },
  settings: {
    wal_level: 'replica',
    max_wal_senders: '10',
    max_replication_slots: '10',
    max_slot_wal_keep_size: '16384',
    data_checksums: 'on',
    full_page_writes: 'on',
    fsync: 'on',
    synchronous_standby_names: '',
  },
  sendersUsed: 0,
  slotsUsed: 0,
  databases: 3,
  bytes: 755 * 1024 * 1024,
};
const address = parseDsn('host=/run/pg user=holdfast', 'x');

describe('check of a PostgreSQL server', () => {
  const findings = (change: Partial<Omit<ServerState, 'settings'>> & { settings?: Record<string, string> }) =>
    findingsOf(address, { ...well, ...change, settings: { ...well.settings, ...change.settings } }, 'holdfast_abc');

  it('finds nothing where all is well', () => {
    expect(findings({}).map(({ level }) => level)).to.deep.equal(findings({}).map(() => 'ok'));
    expect(findings({})[0]!.message).to.contain('3 databases, 755 MiB');
  });

  for (const [what, change, level, remedy] of [
    [
      'a role without the right',
      { role: { ...well.role, replication: false } },
      'error',
      'ALTER ROLE "holdfast" REPLICATION;',
    ],
    [
      'a role that sees little',
      { role: { ...well.role, monitor: false } },
      'warning',
      'GRANT pg_monitor TO "holdfast";',
    ],
    ['a minimal log', { settings: { wal_level: 'minimal' } }, 'error', "ALTER SYSTEM SET wal_level = 'replica';"],
    ['no sender left', { sendersUsed: 9 }, 'error', 'ALTER SYSTEM SET max_wal_senders'],
    ['no slot left', { slotsUsed: 10 }, 'error', 'ALTER SYSTEM SET max_replication_slots'],
    ['a slot without a bound', { settings: { max_slot_wal_keep_size: '-1' } }, 'warning', 'max_slot_wal_keep_size ='],
    ['no checksums', { settings: { data_checksums: 'off' } }, 'warning', 'pg_checksums --enable'],
    ['no fsync', { settings: { fsync: 'off' } }, 'warning', 'ALTER SYSTEM SET fsync = on;'],
    [
      'commits that would wait for us',
      { settings: { synchronous_standby_names: 'FIRST 1 (*)' } },
      'error',
      'synchronous_standby_names',
    ],
    ['a version before 13', { facts: { ...well.facts, versionNumber: 120_010 } }, 'error', 'Upgrade'],
    ['a version of the future', { facts: { ...well.facts, versionNumber: 190_000 } }, 'warning', 'Update the agent.'],
  ] as const) {
    it(`names ${what}, with what to run`, () => {
      const bad = findings(change).filter((finding) => finding.level !== 'ok');
      expect(bad.length).to.equal(1);
      expect(bad[0]!.level).to.equal(level);
      expect(bad[0]!.remedy).to.contain(remedy);
    });
  }

  it('says how to make a role that is not there, and which line lets in one that is', () => {
    const refused = (message: string) =>
      connectionError(address, 'ordinary', Object.assign(new Error(message), { code: '28000' }));
    expect(refused('role "holdfast" does not exist').hint).to.equal(
      'CREATE ROLE "holdfast" LOGIN REPLICATION;\nGRANT pg_monitor TO "holdfast";',
    );
    expect(refused('Peer authentication failed for user "holdfast"').hint).to.contain('local all holdfast peer');
    expect(hbaHint(address, 'replication', 'holdfast')).not.to.contain('map');
    expect(hbaHint(address, 'replication', 'root').split('\n')).to.deep.equal([
      'Write into pg_hba.conf, before all other lines: local replication holdfast peer map=holdfast',
      'and into pg_ident.conf: holdfast root holdfast',
      'then: SELECT pg_reload_conf();',
    ]);
  });
});
