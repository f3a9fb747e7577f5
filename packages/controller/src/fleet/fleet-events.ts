// What happens in the fleet, told to every replica of the controller: LISTEN/NOTIFY on the catalog.
//
// Hazard: notifications can be lost (a broken connection) and are bounded to 8,000 bytes. So an event only says "look
// again"; what counts is the row. Whoever listens also looks from time to time.
//
// Tested in control-hub.db.test.ts.

import type pg from 'pg';

import type { Catalog } from '../catalog/catalog.ts';

export type FleetEvent =
  | { readonly kind: 'revoked'; readonly fingerprints: readonly string[] }
  /** Jobs of this host were queued, or are to be cancelled. */
  | { readonly kind: 'jobs'; readonly hostId: string }
  | { readonly kind: 'sources'; readonly hostId: string }
  /** A job's row has changed. */
  | { readonly kind: 'job'; readonly jobId: string }
  /** Another control stream has taken this host's place. */
  | { readonly kind: 'connected'; readonly hostId: string; readonly connectionId: string }
  /** Plans were applied, verified or removed. */
  | { readonly kind: 'plans' }
  /** A recovery run, or a step of it, has changed; `version` counts. */
  | { readonly kind: 'run'; readonly runId: string; readonly planId: string; readonly version: number }
  /** From, or to, a host whose stream is at one replica while another one needs to know: FailoverMessage, base64. */
  | {
      readonly kind: 'failover';
      readonly replica: string;
      readonly hostId: string;
      readonly toHost: boolean;
      readonly message: string;
    }
  /** The newest progress of a job (JobProgress, base64), now and then, for watchers at other replicas. */
  | { readonly kind: 'progress'; readonly jobId: string; readonly progress: string };

const CHANNEL = 'holdfast_fleet';

export interface FleetEvents {
  /** Tells every replica, this one too. Inside a transaction it is told at the commit. */
  tell(client: pg.ClientBase | pg.Pool, event: FleetEvent): Promise<void>;
  /** Returns the function that stops it. */
  subscribe(heard: (event: FleetEvent) => void): () => void;
  close(): Promise<void>;
}

export async function openFleetEvents(catalog: Catalog): Promise<FleetEvents> {
  const subscribers = new Set<(event: FleetEvent) => void>();
  const heard = (payload: string): void => {
    const event = JSON.parse(payload) as FleetEvent;
    for (const subscriber of subscribers) subscriber(event);
  };
  const stop = await catalog.listen(CHANNEL, heard);
  return {
    async tell(client, event) {
      await client.query('select pg_notify($1, $2)', [CHANNEL, JSON.stringify(event)]);
    },
    subscribe(subscriber) {
      subscribers.add(subscriber);
      return () => subscribers.delete(subscriber);
    },
    close: stop,
  };
}
