// The rules that keep two hosts from serving and a healthy one from being stopped: one table.
//
// simulation.test.ts removes each one from the simulated shells, and shows that a seed of its scenario then fails the named assertion.

import type { Assertion } from './assertions.ts';
import type { ScenarioName } from './schedule.ts';

export interface Rule {
  readonly part: 'detection' | 'leases' | 'enforcement' | 'boot gate' | 'commands' | 'catalog rollback';
  readonly says: string;
  /** Which schedules need it, and what fails without it. */
  readonly scenario: ScenarioName;
  readonly breaks: readonly Assertion[];
}

const rule = (part: Rule['part'], says: string, scenario: ScenarioName, ...breaks: Assertion[]): Rule => ({
  part,
  says,
  scenario,
  breaks,
});

export const RULES = {
  'heartbeats-stopped': rule(
    'detection',
    'dead only if its heartbeats stopped',
    'seen-by-controller',
    'needless failover',
    'healthy primary stopped',
  ),
  'witnesses-agree': rule('detection', 'enough witnesses fail', 'one-witness-fails', 'needless failover'),
  'request-must-be-answered': rule(
    'detection',
    'the request must be answered: a paused process still accepts connections',
    'paused-primary',
    'failover too late',
  ),
  'no-witness-saw-it': rule(
    'detection',
    'no witness saw it just now',
    'seen-by-witness',
    'needless failover',
    'healthy primary stopped',
  ),
  'controller-reaches-standby': rule(
    'detection',
    'the controller reaches the standby, or is itself cut off',
    'isolated-controller',
    'needless failover',
  ),
  'witness-outside': rule(
    'detection',
    'the controller reaches a witness outside the primary’s site',
    'no-witness-outside',
    'needless failover',
    'healthy primary stopped',
  ),
  'controller-grants': rule('leases', 'the controller grants', 'standby-outage', 'healthy primary stopped'),
  'standby-grants': rule(
    'leases',
    'the standby’s agent grants as well',
    'controller-outage',
    'healthy primary stopped',
  ),
  'needs-the-order': rule('leases', 'promotion needs the controller’s order', 'chaos', 'two writers', 'lower epoch'),
  'controller-waits': rule(
    'leases',
    'the order waits until the controller’s own last grant has run out plus the margin',
    'edge',
    'two writers',
  ),
  'standby-waits': rule(
    'leases',
    'the acceptance waits until the standby’s own last grant has run out plus the margin',
    'standby-edge',
    'two writers',
  ),
  margin: rule('leases', 'plus the margin', 'edge', 'two writers'),
  'holder-counts-from-before': rule(
    'leases',
    'a holder counts from before it sent the request',
    'late-grants',
    'two writers',
  ),
  'monotonic-clocks': rule('leases', 'monotonic clocks, never wall clocks', 'edge', 'two writers'),
  'standby-restart-counts-as-grant': rule(
    'leases',
    'a granter that restarted counts as having granted just now (standby)',
    'standby-edge',
    'two writers',
  ),
  'replica-restart-counts-as-grant': rule(
    'leases',
    'a granter that restarted counts as having granted just now (controller)',
    'edge',
    'two writers',
  ),
  'commit-before-grant': rule(
    'leases',
    'the controller’s grants are committed to the catalog before they are sent',
    'stale-replica',
    'two writers',
  ),
  'withdrawal-names-last-grant': rule(
    'leases',
    'withdrawing is a compare-and-set, on the number of the last grant',
    'deaf-driver',
    'two writers',
  ),
  'no-grant-after-withdrawal': rule(
    'leases',
    'after a withdrawal no replica can grant',
    'stale-replica',
    'two writers',
  ),
  'standby-tells-primary': rule(
    'leases',
    'the standby, ordered to withdraw, also tells the primary to stop',
    'sick-primary',
    'not told to stop',
  ),
  'disarmed-refuses': rule(
    'leases',
    'disarmed, it promotes on no order but that of a person with a confirmed fence',
    'disarmed',
    'two writers',
  ),
  'disarm-is-durable': rule('leases', 'a grant without end is durable', 'disarmed', 'two writers'),
  'ended-only-by-handshake': rule(
    'leases',
    'a grant without end is ended only by a handshake that the primary acknowledges',
    'disarmed',
    'two writers',
  ),
  'ended-grants-stay-ended': rule(
    'leases',
    'a standing grant that was ended is never taken again',
    'disarmed',
    'two writers',
  ),
  'disarms-out-of-reach': rule(
    'leases',
    'a granter disarms when the other has been out of its reach for 60 s',
    'both-outage',
    'healthy primary stopped',
  ),
  'disarms-when-plan-is-not-ready': rule(
    'leases',
    'the controller disarms when the plan is unverified or paused',
    'plan-paused',
    'unwanted failover',
  ),
  holdoff: rule('leases', 'the controller disarms in holdoff', 'holdoff', 'unwanted failover'),
  'disarms-at-clean-stop': rule('leases', 'a granter disarms at a clean stop', 'clean-stop', 'healthy primary stopped'),
  'arms-again': rule('leases', 'it arms again by itself', 'death-after-outage', 'failover too late'),
  'all-three-see': rule('leases', 'only once all three see each other', 'half-back', 'healthy primary stopped'),
  'kernel-enforces': rule(
    'enforcement',
    'the kernel ends the service when the agent is dead or frozen',
    'dead-agent',
    'two writers',
  ),
  'gate-is-staged': rule(
    'enforcement',
    'the kernel’s timeout runs from before the request, a grant only switches to it',
    'mid-pause',
    'two writers',
  ),
  'renewal-extends-the-gate': rule(
    'enforcement',
    'each renewal extends the timeouts',
    'quiet',
    'healthy primary stopped',
  ),
  'agent-kills-units': rule('enforcement', 'at expiry the agent also kills the units', 'edge', 'units beside'),
  'script-for-frozen-machines': rule(
    'enforcement',
    'where whole machines are paused, automatic mode needs the power-off script',
    'frozen-machine',
    'two writers',
  ),
  'confirmed-or-ask': rule(
    'enforcement',
    'fencing that is not confirmed is asked of a person',
    'frozen-machine',
    'two writers',
  ),
  'boot-needs-fresh-grant': rule(
    'boot gate',
    'after a boot only on a fresh grant',
    'reboot',
    'two writers',
    'lower epoch',
  ),
  'grant-names-host': rule('boot gate', 'the grant names this host', 'reboot', 'two writers', 'lower epoch'),
  'keeps-highest-on-disk': rule(
    'commands',
    'an agent keeps the highest epoch on disk',
    'reboot',
    'lower epoch',
    'two writers',
  ),
  'refuses-less': rule('commands', 'and refuses less', 'late-orders', 'two writers', 'lower epoch'),
  'rollback-waits': rule(
    'catalog rollback',
    'no grants and orders until both hosts reported',
    'rollback',
    'two writers',
    'lower epoch',
  ),
  'next-is-highest-plus-one': rule(
    'catalog rollback',
    'the next epoch is the highest reported + 1',
    'rollback',
    'two writers',
    'lower epoch',
    'nobody serves',
  ),
  'rollback-counts-as-disarmed': rule(
    'catalog rollback',
    'a rolled-back catalog counts as disarmed until the handshake',
    'rollback-disarmed',
    'two writers',
  ),
  'old-catalog-is-refused': rule(
    'catalog rollback',
    'a host that reported refuses the orders of the catalog before',
    'rollback-late-order',
    'two writers',
  ),
  'override-leaves-a-gap': rule(
    'catalog rollback',
    'a person’s override leaves out the epochs that the lost host may have served under',
    'override',
    'two writers',
    'lower epoch',
  ),
  'synchronous-catalog': rule(
    'catalog rollback',
    'automatic mode refuses a catalog that replicates asynchronously',
    'lossy-catalog',
    'two writers',
    'lower epoch',
  ),
} as const satisfies Record<string, Rule>;

export type RuleId = keyof typeof RULES;
