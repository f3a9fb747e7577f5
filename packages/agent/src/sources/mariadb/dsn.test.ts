import { expect } from 'chai';
import { optionsIn, parseDsn, toolOptions } from './dsn.ts';

describe('the DSN of a MariaDB source', () => {
  it('becomes options of the tools, with no secret among them', () => {
    const address = parseDsn('socket=/run/mysqld/mysqld.sock user=holdfast defaults-file=/etc/holdfast/shop.cnf');
    expect(toolOptions(address)).to.deep.equal([
      '--defaults-file=/etc/holdfast/shop.cnf',
      '--socket=/run/mysqld/mysqld.sock',
      '--user=holdfast',
    ]);
    expect(toolOptions(parseDsn('host=db.example port=3307 user=u'))).to.deep.equal([
      '--no-defaults',
      '--protocol=tcp',
      '--host=db.example',
      '--port=3307',
      '--user=u',
    ]);
  });

  it('refuses a password without repeating it, an unknown word, a relative path, and nothing at all', () => {
    for (const dsn of ['socket=/s password=word', 'socket=/s PWD=word', 'socket=/s word']) {
      expect(() => parseDsn(dsn))
        .to.throw()
        .with.property('message')
        .that.does.not.contain('word=')
        .and.not.match(/\bword$/);
    }
    expect(() => parseDsn('socket=run/mysqld.sock')).to.throw('absolute');
    expect(() => parseDsn('host=h port=70000')).to.throw('no port');
    expect(() => parseDsn('')).to.throw('names no server');
  });

  it("reads the client's groups of an option file, with quotes, escapes and comments", () => {
    const options = optionsIn(
      [
        '[mysqld]',
        'password=no',
        '# a comment',
        '[client]',
        'user = holdfast # who',
        String.raw`password = "a \"b\" # c"`,
        '[client-mariadb]',
        'socket=/s',
      ].join('\n'),
    );
    expect(Object.fromEntries(options)).to.deep.equal({ user: 'holdfast', password: 'a "b" # c', socket: '/s' });
  });
});
