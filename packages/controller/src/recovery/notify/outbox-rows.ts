// The messages that are to be delivered, as rows.
//
// Hazards: two replicas deliver one message (a claim is a conditional update under SKIP LOCKED, and pushes the next try beyond the longest
// delivery); a replica dies in the middle (then the claim runs out, and another one tries again: at least once, never never).
//
// Invariants (notifier.db.test.ts): N1 of one key, one message to each recipient; N2 a claim is one replica's; N3 a result counts only
// for the attempt that it is of; N4 giving a message up and telling others of it is one transaction.

import { randomUUID } from 'node:crypto';

import type pg from 'pg';

import type { Notification } from '../contract.ts';
import type { Delivery } from './attempts.ts';
import type { Recipient } from './recipients.ts';
import type { Words } from './templates.ts';

type Queryable = pg.ClientBase | pg.Pool;

/** What is delivered. */
export interface DueMessage {
  readonly id: string;
  readonly key: string;
  readonly channel: Recipient['channel'];
  readonly address: string;
  readonly contact: string;
  readonly ofPlan: boolean;
  readonly domainId: string | null;
  readonly planId: string | null;
  readonly runId: string | null;
  readonly template: string;
  readonly facts: Readonly<Record<string, string>>;
  readonly subject: string;
  readonly body: string;
  /** This one too. */
  readonly attempts: number;
  readonly createdAt: Date;
}

const COLUMNS = `id, key, channel, address, contact, of_plan as "ofPlan", domain_id as "domainId", plan_id as "planId",
  run_id as "runId", template, facts, subject, body, attempts, created_at as "createdAt"`;

export interface NewMessage {
  readonly notification: Notification;
  readonly domainId: string | undefined;
  readonly words: Words;
  readonly recipients: readonly Recipient[];
}

/** Rows for recipients who have none of that key. */
export async function insertMessages(
  client: Queryable,
  { notification, domainId, words, recipients }: NewMessage,
): Promise<void> {
  const { key, planId, runId, template, facts } = notification;
  for (const { channel, address, contact, ofPlan } of recipients) {
    await client.query(
      `insert into notification (id, key, channel, address, contact, of_plan, domain_id, plan_id, run_id, template, facts,
         subject, body, state)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'waiting')
       on conflict (key, channel, address) do nothing`,
      [
        randomUUID(),
        key,
        channel,
        address,
        contact,
        ofPlan,
        domainId ?? null,
        planId ?? null,
        runId ?? null,
        template,
        JSON.stringify(facts),
        words.subject,
        words.text,
      ],
    );
  }
}

/** Takes up to `limit` messages that are due; for `claimMs` nobody else takes them. */
export async function claimDue(client: Queryable, limit: number, claimMs: number): Promise<DueMessage[]> {
  const { rows } = await client.query<DueMessage>(
    `update notification set attempts = attempts + 1, next_at = now() + $2 * interval '1 ms'
     where id in (select id from notification where state = 'waiting' and next_at <= now()
                  order by next_at limit $1 for update skip locked)
     returning ${COLUMNS}`,
    [limit, claimMs],
  );
  return rows;
}

export async function markSent(client: Queryable, message: DueMessage): Promise<void> {
  await client.query(
    `update notification set state = 'sent', finished_at = now(), last_error = ''
     where id = $1 and attempts = $2 and state = 'waiting'`,
    [message.id, message.attempts],
  );
}

export async function tryLater(client: Queryable, message: DueMessage, inMs: number, why: string): Promise<void> {
  await client.query(
    `update notification set next_at = now() + $3 * interval '1 ms', last_error = $4
     where id = $1 and attempts = $2 and state = 'waiting'`,
    [message.id, message.attempts, inMs, why],
  );
}

/** False when another attempt has come in between: then nothing was written. */
export async function giveUp(client: Queryable, message: DueMessage, why: string): Promise<boolean> {
  const { rowCount } = await client.query(
    `update notification set state = 'failed', finished_at = now(), last_error = $3
     where id = $1 and attempts = $2 and state = 'waiting'`,
    [message.id, message.attempts, why],
  );
  return rowCount === 1;
}

export interface Undelivered {
  readonly address: string;
  readonly subject: string;
  readonly why: string;
  readonly at: Date;
}

/** Messages of the domain (and the controller's own) that were given up lately, newest first. */
export async function undelivered(
  client: Queryable,
  domainId: string,
  sinceMs: number,
  limit: number,
): Promise<Undelivered[]> {
  const { rows } = await client.query<Undelivered>(
    `select address, subject, last_error as why, finished_at as at from notification
     where state = 'failed' and (domain_id = $1 or domain_id is null) and finished_at > now() - $2 * interval '1 ms'
     order by finished_at desc limit $3`,
    [domainId, sinceMs, limit],
  );
  return rows;
}

/** Evidence of what was told is kept for long, not for ever. */
export async function forgetOld(client: Queryable, olderThanMs: number): Promise<void> {
  await client.query(
    `delete from notification where state <> 'waiting' and finished_at < now() - $1 * interval '1 ms'`,
    [olderThanMs],
  );
}

/** How one message goes to one recipient. Never throws. */
export type Deliver = (message: DueMessage, signal: AbortSignal) => Promise<Delivery>;
