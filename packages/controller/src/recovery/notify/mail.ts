// A message by e-mail: one SMTP connection for one message to one address, through the server of the controller's settings.
//
// Hazards: a password that shows (it is read from its file for each connection, goes only through TLS, and no dialogue is logged); a
// downgrade (STARTTLS is demanded, not tried); a server that hangs (every phase has its own limit); a header made of a fact (the library
// encodes them, and templates.ts lets no line break through).
//
// Tested against a real server in mail.test.ts.

import { readFileSync } from 'node:fs';

import { createTransport } from 'nodemailer';

import type { Delivery } from './attempts.ts';
import { email, type SmtpSettings } from './notify-settings.ts';

export interface Mail {
  /** Stable over the tries of one message: a second copy has the same Message-ID. */
  readonly id: string;
  readonly to: string;
  readonly subject: string;
  readonly text: string;
}

const PHASE_MS = 10_000;
const SILENCE_MS = 30_000;

export async function sendMail(smtp: SmtpSettings, mail: Mail): Promise<Delivery> {
  if (!email.safeParse(mail.to).success)
    return { kind: 'failed', final: true, why: `"${mail.to}" is no e-mail address` };
  const domain = smtp.from.slice(smtp.from.lastIndexOf('@') + 1);
  try {
    const transport = createTransport({
      host: smtp.host,
      port: smtp.port,
      secure: smtp.tls === 'implicit',
      requireTLS: smtp.tls === 'starttls',
      ignoreTLS: smtp.tls === 'none',
      connectionTimeout: PHASE_MS,
      greetingTimeout: PHASE_MS,
      dnsTimeout: PHASE_MS,
      socketTimeout: SILENCE_MS,
      disableFileAccess: true,
      disableUrlAccess: true,
      logger: false,
      ...(smtp.ca_file === undefined ? {} : { tls: { ca: readFileSync(smtp.ca_file, 'utf8') } }),
      ...(smtp.user === undefined ? {} : { auth: { user: smtp.user, pass: passwordOf(smtp) } }),
    });
    try {
      await transport.sendMail({
        from: smtp.from,
        to: mail.to,
        subject: mail.subject,
        text: mail.text,
        messageId: `<${mail.id}@${domain}>`,
        // RFC 3834: nobody's absence assistant answers it.
        headers: { 'Auto-Submitted': 'auto-generated' },
      });
    } finally {
      transport.close();
    }
    return { kind: 'sent' };
  } catch (error) {
    return failureOf(error, smtp);
  }
}

function passwordOf(smtp: SmtpSettings): string {
  return readFileSync(smtp.password_file ?? '', 'utf8').split(/\r?\n/, 1)[0] ?? '';
}

/** 5yz is a refusal for good (RFC 5321, 4.2.1), of the address, of the message or of the login. */
function failureOf(error: unknown, smtp: SmtpSettings): Delivery {
  const where = `the mail server ${smtp.host}:${smtp.port}`;
  if (!(error instanceof Error)) return { kind: 'failed', final: false, why: `${where} failed` };
  const status: unknown = Reflect.get(error, 'responseCode');
  const code: unknown = Reflect.get(error, 'code');
  const final = typeof status === 'number' && status >= 500 && status <= 599;
  // What the server says to a login may repeat what it was sent.
  if (code === 'EAUTH') return { kind: 'failed', final, why: `${where} refuses the user ${smtp.user ?? ''}` };
  return { kind: 'failed', final, why: `${where}: ${error.message.split('\n')[0] ?? ''}` };
}
