// Who can be told, and through what, as the controller's settings say.
//
//   notify:
//     smtp: { host: mail.example.net, port: 587, from: holdfast@example.net, user: holdfast, password_file: /etc/holdfast/smtp-password }
//     contacts:
//       oncall: { email: [ops@example.net], webhook: { url: https://pager.example/hook, secret_file: /etc/holdfast/pager-secret } }
//
// Hazard: a password in a file that is passed around. So secrets stand in files of their own, which are read when they are needed.
//
// Tested in notify-settings.test.ts.

import { z } from 'zod';

const absolute = z.string().regex(/^\//, 'must be an absolute path');
/** One address, and nothing else that a header could be made of. */
export const email = z.string().regex(/^[^\s@<>,;"]+@[^\s@<>,;"]+$/, 'must be an e-mail address');

/** http(s), without a name or a password in it: a URL is shown and logged. */
export const webhookUrl = z.string().refine((text) => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
}, 'must be an http(s) URL without a user');

const smtp = z
  .strictObject({
    host: z.string().min(1).max(253),
    port: z.int().min(1).max(65_535).default(587),
    from: email,
    user: z.string().min(1).optional(),
    password_file: absolute.optional(),
    /** starttls: refused when the server has none. none: for a server on the loopback address. */
    tls: z.enum(['starttls', 'implicit', 'none']).default('starttls'),
    /** PEM; without it: the authorities that this machine trusts. */
    ca_file: absolute.optional(),
  })
  .refine((given) => (given.user === undefined) === (given.password_file === undefined), {
    error: 'user and password_file go together',
    path: ['password_file'],
  })
  .refine((given) => given.user === undefined || given.tls !== 'none', {
    error: 'a password goes only through TLS: starttls or implicit',
    path: ['tls'],
  });

export const notifySchema = z.strictObject({
  smtp: smtp.optional(),
  contacts: z
    .record(
      z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'a name of small letters, digits, ".", "_" and "-" was expected'),
      z.strictObject({
        email: z.array(email).max(16).default([]),
        webhook: z.strictObject({ url: webhookUrl, secret_file: absolute.optional() }).optional(),
      }),
    )
    .default({}),
});
export type NotifySettings = z.output<typeof notifySchema>;
export type SmtpSettings = NonNullable<NotifySettings['smtp']>;
