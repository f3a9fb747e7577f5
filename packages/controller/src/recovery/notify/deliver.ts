// One message to one recipient: by mail, to a URL, or to nobody.
//
// Hazard: a secret that is missing must not become a message without a signature. So it is a failure, and one that is tried again:
// somebody may be setting it.
//
// Tested in notifier.db.test.ts.

import { readFileSync } from 'node:fs';

import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { Plan } from '@holdfast/shared/recovery/plan';
import { postWebhook } from '@holdfast/shared/recovery/webhook';
import type { Clock } from '@holdfast/shared/runtime/clock';

import type { Delivery } from './attempts.ts';
import { sendMail } from './mail.ts';
import { webhookUrl, type NotifySettings } from './notify-settings.ts';
import type { Deliver, DueMessage } from './outbox-rows.ts';

/** Of a plan that is applied, its newest revision; undefined: there is no such plan any more. */
export type ContactsOf = (planId: string) => Promise<
  | {
      readonly domainId: string;
      readonly name: string;
      readonly owner: string;
      readonly contacts: Plan['contacts'];
    }
  | undefined
>;

export interface DeliverDeps {
  readonly settings: NotifySettings;
  readonly clock: Clock;
  readonly contactsOf: ContactsOf;
  /** A secret of the domain, unwrapped; undefined: nobody set it. */
  readonly secret: (domainId: string, name: string) => Promise<Buffer | undefined>;
}

const WEBHOOK_MS = 15_000;

export function deliverThrough(deps: DeliverDeps): Deliver {
  return async (message, signal) => {
    try {
      if (message.channel === 'email') return await byMail(deps, message);
      if (message.channel === 'webhook') return await byWebhook(deps, message, signal);
      const named = message.contact === '' ? message.address : message.contact;
      return never(`there is no contact "${named}" with an address, in the plan or in the controller's settings`);
    } catch (error) {
      return { kind: 'failed', final: false, why: toHoldfastError(error).message };
    }
  };
}

async function byMail({ settings }: DeliverDeps, message: DueMessage): Promise<Delivery> {
  if (settings.smtp === undefined) return never('the controller has no mail server: set notify.smtp in its settings');
  const { id, address, subject, body } = message;
  return await sendMail(settings.smtp, { id, to: address, subject, text: body });
}

async function byWebhook(deps: DeliverDeps, message: DueMessage, signal: AbortSignal): Promise<Delivery> {
  if (!webhookUrl.safeParse(message.address).success) return never(`${message.address} is no http(s) URL`);
  const secret = await secretOf(deps, message);
  if (typeof secret === 'string') return { kind: 'failed', final: false, why: secret };
  const { id, key, template, planId, runId, facts, subject, body: text, createdAt } = message;
  const at = createdAt.toISOString();
  return await postWebhook({
    id,
    url: message.address,
    body: JSON.stringify({ id, key, template, plan: planId, run: runId, at, subject, text, facts }),
    secret,
    nowMs: deps.clock.wallMs(),
    timeoutMs: WEBHOOK_MS,
    signal,
  });
}

/** A text says why there is none although there should be. */
async function secretOf(deps: DeliverDeps, message: DueMessage): Promise<Buffer | undefined | string> {
  const { contact, ofPlan, planId, domainId, address } = message;
  if (!ofPlan) {
    const file = deps.settings.contacts[contact]?.webhook?.secret_file;
    if (file === undefined) return undefined;
    return Buffer.from(readFileSync(file, 'utf8').split(/\r?\n/, 1)[0] ?? '');
  }
  const plan = planId === null ? undefined : await deps.contactsOf(planId);
  const webhook = plan?.contacts[contact]?.webhook;
  if (webhook === undefined || webhook.url !== address) return 'the plan has changed, and no longer has this contact';
  if (webhook.secret === undefined) return undefined;
  const found = domainId === null ? undefined : await deps.secret(domainId, webhook.secret);
  return found ?? `the secret ${webhook.secret} is not set: holdfast plan secret set ${webhook.secret}`;
}

function never(why: string): Delivery {
  return { kind: 'failed', final: true, why };
}
