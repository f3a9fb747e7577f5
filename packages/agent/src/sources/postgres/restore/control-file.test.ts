import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { giveControl, withholdControl } from './control-file.ts';

describe('the control file of a data directory that a delta changes', () => {
  let dir: string;
  const account = { uid: process.getuid!(), gid: process.getgid!() };
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'holdfast-control-'))));
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('K1 is taken away, and given as the snapshot has it, for its server alone', () => {
    const file = join(dir, 'global', 'pg_control');
    mkdirSync(join(dir, 'global'));
    writeFileSync(file, 'of the older state');
    withholdControl(dir);
    expect(existsSync(file)).to.equal(false);
    giveControl(dir, Buffer.from('of the base'), account);
    expect(readFileSync(file, 'utf8')).to.equal('of the base');
    expect(statSync(file).mode & 0o777).to.equal(0o600);
  });

  it('a directory without one is left alone, and nothing is overwritten', () => {
    withholdControl(dir);
    giveControl(dir, Buffer.from('of the base'), account);
    expect(() => giveControl(dir, Buffer.from('another'), account)).to.throw(/EEXIST/);
  });
});
