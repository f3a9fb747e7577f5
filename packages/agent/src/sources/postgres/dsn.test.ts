import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { addressText, parseDsn, passwordFor } from './dsn.ts';

describe('DSN of PostgreSQL', () => {
  afterEach(removeScratchDirectories);

  it('is read in words, quoted or not, and as a URI, with defaults', () => {
    expect(parseDsn('host=/run/pg port=5501 user=holdfast dbname=postgres', 'root')).to.deep.include({
      host: '/run/pg',
      port: 5501,
      user: 'holdfast',
      database: 'postgres',
      sslMode: 'disable',
    });
    expect(parseDsn(String.raw`user='o\'brien' dbname = 'my shop'  host=db`, 'x')).to.include({
      user: "o'brien",
      database: 'my shop',
      host: 'db',
    });
    expect(parseDsn('postgresql://erika@db.example:5433/shop?sslmode=verify-full', 'x')).to.include({
      host: 'db.example',
      port: 5433,
      user: 'erika',
      database: 'shop',
      sslMode: 'verify-full',
    });
    const bare = parseDsn('', 'postgres');
    expect(bare).to.include({ host: '/var/run/postgresql', port: 5432, user: 'postgres', database: 'postgres' });
    expect(addressText(bare)).to.equal('/var/run/postgresql, port 5432');
  });

  for (const dsn of [
    'host=db password=hunter2',
    "password='hunter2'",
    'postgresql://x:hunter2@db/shop',
    'host=db hunter2',
    'host=db hunter2=x',
    'port=none host=hunter2',
    "host='hunter2",
    'passfile=hunter2',
    'sslmode=hunter2',
  ]) {
    it(`refuses ${dsn.replace('hunter2', '…')}, without repeating it`, () => {
      expect(() => parseDsn(dsn, 'x'))
        .to.throw(HoldfastError)
        .with.property('code', 'INVALID_ARGUMENT');
      try {
        parseDsn(dsn, 'x');
      } catch (error) {
        const { message, hint } = error as HoldfastError;
        expect(message + hint).not.to.contain('hunter2');
      }
    });
  }

  it('takes the password from the first fitting line of a file that nobody else may read', () => {
    const passfile = join(scratchDirectory(), 'pass');
    const address = parseDsn(`host=db user=erika dbname=shop passfile=${passfile}`, 'x');
    expect(() => passwordFor(address)).to.throw(HoldfastError, 'cannot be read');
    writeFileSync(passfile, '# a comment\nother:*:*:*:no\ndb:5432:*:erika:se\\:cret\n*:*:*:*:late\n', { mode: 0o600 });
    expect(passwordFor(address)).to.equal('se:cret');
    expect(passwordFor({ ...address, user: 'somebody' })).to.equal('late');
    chmodSync(passfile, 0o640);
    expect(() => passwordFor(address)).to.throw(HoldfastError, 'can be read by others');
    expect(passwordFor({ ...address, passfile: undefined })).to.equal(undefined);
  });
});
