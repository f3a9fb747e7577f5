import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { engineSource } from './engine-options.ts';

describe('what an engine is told', () => {
  it('is the options by name, sorted', () => {
    const source = engineSource({
      type: 'postgres',
      dsn: 'host=/run/pg port=5501 user=holdfast dbname=postgres',
      set: ['walKeep=4GiB', 'bindir=/opt/pg/bin'],
    });
    expect(source).to.deep.equal({
      type: 'postgres',
      settings: [
        { name: 'bindir', value: '/opt/pg/bin' },
        { name: 'dsn', value: 'host=/run/pg port=5501 user=holdfast dbname=postgres' },
        { name: 'walKeep', value: '4GiB' },
      ],
    });
    expect(engineSource({ type: 'command', run: ['/usr/bin/pg_dump', '-d', 'a b'] }).settings[0]!.value).to.equal(
      '["/usr/bin/pg_dump","-d","a b"]',
    );
  });

  for (const [what, options] of Object.entries({
    'a password in a DSN': { dsn: 'host=db user=x password=hunter2' },
    'a password in a URI': { dsn: 'postgres://x:hunter2@db/shop' },
    'a password of its own': { set: ['password=hunter2'] },
    'a setting twice': { dsn: 'a', set: ['dsn=b'] },
    'two paths': { path: ['/a', '/b'] },
    'a setting without a value': { set: ['walKeep'] },
  })) {
    it(`refuses ${what}, without repeating it`, () => {
      let message = '';
      try {
        engineSource({ type: 'postgres', ...options });
      } catch (error) {
        expect(error).to.be.instanceOf(HoldfastError).with.property('code', 'USAGE');
        message = String(error);
      }
      expect(message).not.to.equal('');
      expect(message).not.to.include('hunter2');
    });
  }
});
