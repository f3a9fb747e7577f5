import { expect } from 'chai';

import { notifySchema } from './notify-settings.ts';

const smtp = { host: 'mail.test', from: 'holdfast@shop.test' };
const refused = (given: object): string[] =>
  notifySchema.safeParse(given).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? [];

describe('who can be told', () => {
  it('is nobody by default; a mail server speaks STARTTLS on its submission port', () => {
    expect(notifySchema.parse({})).to.deep.equal({ contacts: {} });
    expect(notifySchema.parse({ smtp }).smtp).to.deep.equal({ ...smtp, port: 587, tls: 'starttls' });
  });

  it('no password stands in the settings, and none goes without TLS', () => {
    expect(refused({ smtp: { ...smtp, password: 'x' } })).to.have.length(1);
    expect(refused({ smtp: { ...smtp, user: 'holdfast' } })).to.deep.equal([
      'smtp.password_file: user and password_file go together',
    ]);
    const login = { user: 'holdfast', password_file: '/etc/holdfast/smtp-password' };
    expect(refused({ smtp: { ...smtp, ...login, tls: 'none' } })).to.deep.equal([
      'smtp.tls: a password goes only through TLS: starttls or implicit',
    ]);
    expect(refused({ smtp: { ...smtp, ...login } })).to.deep.equal([]);
  });

  it('addresses are addresses, and URLs http(s) without a user', () => {
    const contact = (oncall: object): string[] => refused({ contacts: { oncall } });
    expect(contact({ email: ['a@shop.test', 'b@shop.test'] })).to.deep.equal([]);
    for (const email of ['a', 'a@b, c@d', 'A <a@b>', 'a@b\nBcc: c@d'])
      expect(contact({ email: [email] }), email).to.have.length(1);
    for (const url of ['file:///etc/passwd', 'https://user:secret@pager.test/', 'pager.test', 'javascript:alert(1)'])
      expect(contact({ webhook: { url } }), url).to.have.length(1);
    expect(contact({ webhook: { url: 'https://pager.test/hook', secret_file: '/etc/holdfast/pager' } })).to.deep.equal(
      [],
    );
    expect(contact({ webhook: { url: 'https://pager.test/hook', secret_file: 'pager' } })).to.have.length(1);
  });
});
