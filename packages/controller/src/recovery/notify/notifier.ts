// Tells people, and goes on trying: messages are rows first, and every replica delivers what is due.
//
// Hazard: the page that nobody got. A message that is given up is a message to everybody else whom the plan or the controller knows, and
// stays in what needs attention. The word of that goes one step and no further, or two dead addresses would write to each other for ever.
//
// Invariants (notifier.db.test.ts): with those of outbox-rows.ts, N5 an undelivered message is told to the others, once, and an undelivered
// word of it to nobody.

import type { Clock } from '@holdfast/shared/runtime/clock';
import type { LogFields } from '@holdfast/shared/runtime/log';

import type { Catalog } from '../../catalog/catalog.ts';
import type { Notification, Notifier } from '../contract.ts';
import { afterAttempt, ATTEMPTS, type Attempts } from './attempts.ts';
import { alertContacts } from './alert-contacts.ts';
import { deliverThrough, type ContactsOf, type DeliverDeps } from './deliver.ts';
import {
  claimDue,
  forgetOld,
  giveUp,
  insertMessages,
  markSent,
  tryLater,
  undelivered,
  type Deliver,
  type DueMessage,
} from './outbox-rows.ts';
import { others, recipientsOf } from './recipients.ts';
import { wordsOf } from './templates.ts';

export interface NotifierDeps extends DeliverDeps {
  readonly catalog: Catalog;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: (event: string, fields: LogFields) => void;
  readonly attempts?: Attempts;
  /** How often is looked for what is due, and for what other replicas were told. */
  readonly pollMs?: number;
}

export interface RunningNotifier extends Notifier {
  /** What a person should know about messages of the domain that did not arrive: for `status`. */
  attention(domainId: string): Promise<NotifyAttention[]>;
  /** Ends deliveries that are under way; they are tried again after the next start. */
  stop(): Promise<void>;
}

export interface NotifyAttention {
  readonly level: 'critical';
  readonly subject: string;
  readonly message: string;
  readonly hint: string;
}

const POLL_MS = 2000;
const AT_ONCE = 4;
/** Longer than the longest delivery. */
const CLAIM_MS = 180_000;
const SHOWN_FOR_MS = 3 * 86_400_000;
const SHOWN_MAX = 20;
const KEPT_MS = 400 * 86_400_000;
const FORGET_EVERY_MS = 6 * 3_600_000;

/** Starts to deliver at once. */
export function openNotifier(deps: NotifierDeps): RunningNotifier {
  const stopping = new AbortController();
  const deliver = deliverThrough(deps);
  let wake: (() => void) | undefined;
  const loop = deliveryLoop(deps, deliver, stopping.signal, (wakeUp) => (wake = wakeUp));
  return {
    async notify(notification) {
      const plan = notification.planId === undefined ? undefined : await deps.contactsOf(notification.planId);
      await insertMessages(deps.catalog.pool, {
        notification,
        domainId: plan?.domainId,
        words: wordsOf(notification),
        recipients: recipientsOf(namesOf(deps, notification, plan), plan?.contacts ?? {}, deps.settings.contacts),
      });
      wake?.();
    },
    async attention(domainId) {
      const found = await undelivered(deps.catalog.pool, domainId, SHOWN_FOR_MS, SHOWN_MAX);
      return found.map(({ address, subject, why }) => ({
        level: 'critical',
        subject: 'notify',
        message: `"${subject}" did not reach ${address}: ${why}`,
        hint: 'Tell them, and mend the contact in the plan or in the settings of the controller.',
      }));
    },
    async stop() {
      stopping.abort();
      wake?.();
      await loop;
    },
  };
}

function namesOf(
  { settings }: NotifierDeps,
  { contacts }: Notification,
  plan: Awaited<ReturnType<ContactsOf>>,
): readonly string[] {
  if (contacts !== 'everybody') return contacts;
  const ofController = Object.keys(settings.contacts);
  return plan === undefined ? ofController : alertContacts(plan, ofController);
}

/** Ends when the signal is aborted and nothing is under way. A catalog that is away for a while only delays. */
async function deliveryLoop(
  deps: NotifierDeps,
  deliver: Deliver,
  signal: AbortSignal,
  onWait: (wakeUp: () => void) => void,
): Promise<void> {
  const underWay = new Set<Promise<void>>();
  let forgetAtMs = deps.clock.monotonicMs();
  while (!signal.aborted) {
    let claimed = 0;
    try {
      const due = await claimDue(deps.catalog.pool, AT_ONCE - underWay.size, CLAIM_MS);
      claimed = due.length;
      for (const message of due) {
        const work = attempt(deps, deliver, message, signal)
          .catch((error: unknown) => deps.log('notify.attempt-lost', { id: message.id, error }))
          .finally(() => underWay.delete(work));
        underWay.add(work);
      }
      if (deps.clock.monotonicMs() >= forgetAtMs) {
        forgetAtMs += FORGET_EVERY_MS;
        await forgetOld(deps.catalog.pool, KEPT_MS);
      }
    } catch (error) {
      deps.log('notify.catalog-away', { error });
    }
    if (signal.aborted) break;
    if (underWay.size >= AT_ONCE) await Promise.race(underWay);
    else if (claimed === 0) await pause(deps, underWay, onWait);
  }
  await Promise.all(underWay);
}

/** Until something new may be due: a message was put in, a delivery has ended, or time has passed. */
function pause(
  { clock, pollMs = POLL_MS }: NotifierDeps,
  underWay: ReadonlySet<Promise<void>>,
  onWait: (wakeUp: () => void) => void,
): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(pollMs, resolve, { background: true });
    const goOn = (): void => {
      timer.cancel();
      resolve();
    };
    onWait(goOn);
    for (const work of underWay) void work.then(goOn);
  });
}

async function attempt(deps: NotifierDeps, deliver: Deliver, message: DueMessage, signal: AbortSignal): Promise<void> {
  const { pool } = deps.catalog;
  const next = afterAttempt(await deliver(message, signal), message.attempts, deps.random(), deps.attempts ?? ATTEMPTS);
  const ids = { id: message.id, key: message.key, channel: message.channel, attempt: message.attempts };
  if (next.state === 'sent') {
    await markSent(pool, message);
    deps.log('notify.sent', ids);
    return;
  }
  // A stop is nobody's failure: the claim runs out, and another replica tries.
  if (signal.aborted) return await tryLater(pool, message, 0, 'the controller was stopped');
  deps.log(next.state === 'failed' ? 'notify.given-up' : 'notify.failed', { ...ids, why: next.why });
  if (next.state === 'waiting') return await tryLater(pool, message, next.inMs, next.why);
  await tellOthers(deps, message, next.why);
}

const UNDELIVERED = 'undelivered';

/** N4 and N5. */
async function tellOthers(deps: NotifierDeps, message: DueMessage, why: string): Promise<void> {
  const plan = message.planId === null ? undefined : await deps.contactsOf(message.planId);
  const notification: Notification = {
    planId: message.planId ?? undefined,
    runId: message.runId ?? undefined,
    contacts: [],
    template: UNDELIVERED,
    key: `${UNDELIVERED}/${message.id}`,
    facts: {
      ...message.facts,
      ...(plan === undefined ? {} : { plan: plan.name }),
      address: message.channel === 'none' ? message.contact || message.address : message.address,
      why,
      undelivered: message.subject,
    },
  };
  await deps.catalog.transaction(async (client) => {
    if (!(await giveUp(client, message, why)) || message.template === UNDELIVERED) return;
    await insertMessages(client, {
      notification,
      domainId: message.domainId ?? undefined,
      words: wordsOf(notification),
      recipients: others(message, plan?.contacts ?? {}, deps.settings.contacts),
    });
  });
}
