// The controllers' catalog, from a test: who drives the plan, and how far a run is. By its socket on the host `controller`, so that it answers
// also while no controller does.

import pg from 'pg';
import type { Lab } from './lab.ts';

export interface Driver {
  /** Never used twice. */
  readonly driver: string;
  readonly term: number;
}

export interface StepState {
  readonly id: string;
  readonly state: string;
}

export class Catalog {
  readonly #client: pg.Client;

  private constructor(client: pg.Client) {
    this.#client = client;
  }

  static async open(lab: Lab): Promise<Catalog> {
    const client = new pg.Client({ host: lab.host('controller').socketDirectory('/run/postgresql'), user: 'postgres' });
    client.on('error', () => undefined); // the host is gone; the next question says so
    await client.connect();
    return new Catalog(client);
  }

  /** Of the lab's only plan. */
  async driver(): Promise<Driver> {
    const { rows } = await this.#client.query<Driver>('select driver, term::int as term from application');
    return rows[0]!;
  }

  /** How many runs there were, of any mode; preparations are none. */
  async runs(): Promise<number> {
    const { rows } = await this.#client.query<{ count: number }>(
      'select count(*)::int as count from run where not ahead',
    );
    return rows[0]!.count;
  }

  /** Of the newest run, in the order of its plan. */
  async steps(): Promise<readonly StepState[]> {
    const { rows } = await this.#client.query<StepState>(
      `select step_id as id, state from run_step
       where run_id = (select id from run where not ahead order by started_at desc limit 1) order by position`,
    );
    return rows;
  }

  async close(): Promise<void> {
    await this.#client.end();
  }
}
