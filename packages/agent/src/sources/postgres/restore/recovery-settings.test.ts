import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { removeScratchDirectories, scratchDirectory } from '../../../testing/scratch-directory.ts';
import {
  ASKED_FOLDER,
  FEEDING_FILE,
  FETCH_TEXT,
  LOG_FOLDER,
  recoverySettings,
  withoutRecoverySettings,
} from './recovery-settings.ts';

const stream = { systemIdentifier: '7', timeline: 3 };

describe('settings of a restored server', () => {
  it('name one target, on the timeline that reaches it', () => {
    const of = (target: Parameters<typeof recoverySettings>[0]['target'], toEndOfLog = false) =>
      recoverySettings({ target, stream, toEndOfLog, tablespacesInPlace: false });
    expect(of({ kind: 'time', atMs: Date.UTC(2026, 10, 22, 10) })).to.contain(
      "recovery_target_time = '2026-11-22T10:00:00.000999+00'",
    );
    expect(of({ kind: 'position', text: '0/3000028' })).to.contain("recovery_target_lsn = '0/3000028'");
    expect(of({ kind: 'name', name: "o'clock" })).to.contain("recovery_target_name = 'o''clock'");
    expect(of({ kind: 'base' })).to.contain("recovery_target = 'immediate'");
    for (const none of [of({ kind: 'latest' }), of({ kind: 'time', atMs: 1 }, true)]) {
      expect(none).not.to.match(/recovery_target(_time|_lsn|_name)? =/);
    }
    expect(of({ kind: 'latest' }))
      .to.contain("recovery_target_timeline = '3'")
      .and.to.contain("archive_mode = 'off'");
    expect(() => of({ kind: 'gtid', gtid: '0-1-2' })).to.throw(HoldfastError, 'no GTIDs');
    expect(() => of({ kind: 'position', text: "0/1' --" })).to.throw(HoldfastError);
  });

  it('keep it from acting for the server that it was', () => {
    const text = recoverySettings({ target: { kind: 'latest' }, stream, toEndOfLog: true, tablespacesInPlace: true });
    for (const line of [
      "primary_conninfo = ''",
      "archive_cleanup_command = ''",
      "recovery_end_command = ''",
      "max_logical_replication_workers = '0'",
      "allow_in_place_tablespaces = 'on'",
    ]) {
      expect(text).to.contain(line);
    }
  });

  it('take the place of an earlier restore’s, whichever tool made it, and leave the rest alone', () => {
    const own = "work_mem = '4MB'\n";
    const first =
      own +
      recoverySettings({ target: { kind: 'name', name: 'a' }, stream, toEndOfLog: false, tablespacesInPlace: false });
    expect(withoutRecoverySettings(first).trim()).to.equal(own.trim());
    expect(withoutRecoverySettings(`${own}recovery_target_time = 'x'\nrestore_command = 'y'\nport = 1\n`)).to.equal(
      `${own}port = 1\n`,
    );
  });
});

describe('the script that gives a server its log', () => {
  afterEach(removeScratchDirectories);

  const folder = (): string => {
    const directory = scratchDirectory();
    mkdirSync(join(directory, ASKED_FOLDER), { recursive: true });
    writeFileSync(join(directory, LOG_FOLDER, 'fetch'), FETCH_TEXT);
    return directory;
  };
  const fetch = (directory: string, name: string) =>
    spawnSync('sh', [join(LOG_FOLDER, 'fetch'), name, 'taken'], { cwd: directory, timeout: 20_000 });

  it('copies what is laid there, and says at once what is not', () => {
    const directory = folder();
    writeFileSync(join(directory, LOG_FOLDER, '000000010000000000000001'), 'log');
    expect(fetch(directory, '000000010000000000000001').status).to.equal(0);
    expect(readFileSync(join(directory, 'taken'), 'utf8')).to.equal('log');
    expect(existsSync(join(directory, LOG_FOLDER, '000000010000000000000001'))).to.equal(true);
    expect(fetch(directory, '000000010000000000000002').status).to.equal(1);
    expect(fetch(directory, '../../etc/passwd').status).to.equal(1);
  });

  it('asks while an agent feeds, takes the file away, and hears what is missing', () => {
    const directory = folder();
    writeFileSync(join(directory, FEEDING_FILE), String(process.pid));
    const helper = `sleep 0.3; ls ${ASKED_FOLDER} > asked; echo log > ${LOG_FOLDER}/new; mv ${LOG_FOLDER}/new ${LOG_FOLDER}/A`;
    execFileSync('sh', ['-c', `(${helper}) & sh ${LOG_FOLDER}/fetch A taken; wait`], {
      cwd: directory,
      timeout: 20_000,
    });
    expect(readFileSync(join(directory, 'asked'), 'utf8')).to.equal('A\n');
    expect(readFileSync(join(directory, 'taken'), 'utf8')).to.equal('log\n');
    expect(existsSync(join(directory, LOG_FOLDER, 'A'))).to.equal(false);
    writeFileSync(join(directory, LOG_FOLDER, 'B.missing'), '');
    expect(fetch(directory, 'B').status).to.equal(1);
  });

  it('ends the recovery when the agent died: its silence is not the end of the log', () => {
    const directory = folder();
    writeFileSync(join(directory, FEEDING_FILE), '4194305');
    expect(fetch(directory, 'A').status).to.be.greaterThan(125);
  });
});
