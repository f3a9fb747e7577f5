import { setTimeout as delay } from 'node:timers/promises';

import { expect } from 'chai';

import { MAIL_PASSWORD, startMailServer, whyNoMailServer, type MailServer } from '../../testing/mail-server.ts';
import { sendMail } from './mail.ts';
import { notifySchema, type SmtpSettings } from './notify-settings.ts';

function smtpFor(server: MailServer, given: object): SmtpSettings {
  const smtp = { host: '127.0.0.1', port: server.port, from: 'holdfast@backup.test', ...given };
  return notifySchema.parse({ smtp }).smtp!;
}

/** exim takes a message first and writes it then. */
async function arrived(server: MailServer, local: string): Promise<string> {
  for (let tries = 0; tries < 1000; tries++) {
    const [mail] = server.mailOf(local);
    if (mail?.includes('\n\n')) return mail;
    await delay(10);
  }
  throw new Error(`nothing arrived for ${local}: ${server.log()}`);
}

const mail = {
  id: '7d0c2c9e-1111-4111-8111-111111111111',
  subject: 'Holdfast: shop: web-2 serves now',
  text: 'It runs – again.\n',
};

describe('mail through a real server', () => {
  const why = whyNoMailServer();
  let secure: MailServer;
  let plain: MailServer;

  before(async function servers() {
    if (why !== undefined) {
      if (process.env['HOLDFAST_CI'] === '1') throw new Error(why);
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    [secure, plain] = await Promise.all([startMailServer({ tls: true }), startMailServer({ tls: false })]);
  });
  after(async () => {
    await Promise.all([secure, plain].map((server) => server?.stop()));
  });

  const withLogin = (given: object = {}) =>
    smtpFor(secure, { user: 'holdfast', password_file: secure.passwordFile, ca_file: secure.caFile, ...given });

  it('logs in under STARTTLS and delivers subject, text and a stable id', async () => {
    expect(await sendMail(withLogin(), { ...mail, to: 'ops@shop.test' })).to.deep.equal({ kind: 'sent' });
    const text = await arrived(secure, 'ops');
    expect(text).to.contain('Subject: Holdfast: shop: web-2 serves now');
    expect(text).to.contain(`Message-ID: <${mail.id}@backup.test>`);
    expect(text).to.contain('Auto-Submitted: auto-generated');
    expect(text).to.contain('To: ops@shop.test');
    expect(secure.log())
      .to.match(/A=plain:holdfast/)
      .and.match(/X=TLS1\.[23]/);
  });

  it('a line break in a fact makes no header', async () => {
    const subject = 'Holdfast: shop: web-2\r\nBcc: thief@evil.test';
    expect((await sendMail(withLogin(), { ...mail, subject, to: 'break@shop.test' })).kind).to.equal('sent');
    const text = await arrived(secure, 'break');
    expect(text.split('\n\n')[0]).to.not.match(/^Bcc:/im);
    expect(secure.mailOf('thief')).to.deep.equal([]);
  });

  it('a comma in an address makes no second recipient', async () => {
    const { kind } = await sendMail(withLogin(), { ...mail, to: 'one@shop.test, two@shop.test' });
    expect(kind).to.equal('failed');
    expect(secure.mailOf('two')).to.deep.equal([]);
  });

  it('sends nothing to a server without STARTTLS, unless the settings want none', async () => {
    const refused = await sendMail(smtpFor(plain, {}), { ...mail, to: 'bare@shop.test' });
    expect(refused.kind).to.equal('failed');
    expect(plain.mailOf('bare')).to.deep.equal([]);
    expect(await sendMail(smtpFor(plain, { tls: 'none' }), { ...mail, to: 'bare@shop.test' })).to.deep.equal({
      kind: 'sent',
    });
    await arrived(plain, 'bare');
    expect(plain.mailOf('bare')).to.have.length(1);
  });

  it('trusts no certificate of an authority that nobody named', async () => {
    const smtp = smtpFor(secure, { user: 'holdfast', password_file: secure.passwordFile });
    expect(await sendMail(smtp, { ...mail, to: 'trust@shop.test' })).to.include({ kind: 'failed', final: false });
    expect(secure.mailOf('trust')).to.deep.equal([]);
  });

  it('a refusal for good ends it, one for now does not, and neither says the password', async () => {
    const nobody = await sendMail(withLogin(), { ...mail, to: 'nobody@shop.test' });
    expect(nobody).to.include({ kind: 'failed', final: true });
    expect(nobody).to.have.property('why').that.contains('there is nobody of this name');
    const later = await sendMail(withLogin(), { ...mail, to: 'later@shop.test' });
    expect(later).to.include({ kind: 'failed', final: false });
    const wrong = await sendMail(withLogin({ user: 'somebody' }), { ...mail, to: 'ops@shop.test' });
    expect(wrong).to.include({ kind: 'failed', final: true });
    expect(wrong)
      .to.have.property('why')
      .that.contains('refuses the user somebody')
      .and.does.not.contain(MAIL_PASSWORD);
    const gone = await sendMail(withLogin({ port: 1 }), { ...mail, to: 'ops@shop.test' });
    expect(gone).to.include({ kind: 'failed', final: false });
  });
});
