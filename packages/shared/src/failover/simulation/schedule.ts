// Schedules: which faults happen when, made from a scenario and a seed. Every one is a list that can be printed and read.

import { CALM, HOSTS, isolatePrimary, Plan, REPLICAS, ROUGH, type Schedule, WITNESSES } from './fault-list.ts';
import type { NetworkSettings } from './network-settings.ts';
import type { Random } from './random.ts';

const generators = {
  /** Anything, to anybody. */
  chaos(random) {
    const plan = new Plan();
    const nodes = [...HOSTS, ...WITNESSES, ...REPLICAS, 'catalog'];
    const count = Math.floor(random.between(3, 14));
    for (let index = 0; index < count; index += 1) {
      const atMs = random.between(5000, 110_000);
      const untilMs = atMs + random.between(500, random.chance(0.3) ? 90_000 : 20_000);
      const host = random.pick(HOSTS);
      const replica = random.pick(REPLICAS);
      random.pick([
        () => plan.cut(atMs, random.pick(nodes), random.pick(nodes), random.chance(0.5) ? 'one' : 'both'),
        () => plan.cutFromAll(atMs, host).healAll(untilMs, host),
        () => plan.cutFromAll(atMs, replica).healAll(untilMs, replica),
        () => plan.at(atMs, { kind: 'crash', node: host }).at(untilMs, { kind: 'boot', node: host }),
        () => plan.at(atMs, { kind: 'crash', node: replica }).at(untilMs, { kind: 'boot', node: replica }),
        () => plan.at(atMs, { kind: 'pause', node: host }).at(untilMs, { kind: 'resume', node: host }),
        () => plan.at(atMs, { kind: 'pause', node: replica }).at(untilMs, { kind: 'resume', node: replica }),
        () => plan.at(atMs, { kind: 'kill-agent', node: host }).at(untilMs, { kind: 'start-agent', node: host }),
        () => plan.at(atMs, { kind: 'roll-back', ageMs: random.between(1000, atMs), silent: false }),
        () =>
          plan.at(atMs, {
            kind: 'wall-jump',
            node: random.pick([...HOSTS, ...REPLICAS]),
            byMs: random.between(-60_000, 60_000),
          }),
        () => plan.at(atMs, { kind: 'plan', ready: false }).at(untilMs, { kind: 'plan', ready: true }),
        () => plan.at(atMs, { kind: 'clean-stop', node: replica }).at(untilMs, { kind: 'boot', node: replica }),
      ])();
    }
    return plan.done(130_000, {
      network: random.chance(0.5) ? ROUGH : CALM,
      midPause: random.chance(0.3) ? 0.005 : 0,
      holdoffMs: 30_000,
    });
  },
  quiet: () => new Plan().done(30_000, { expect: { servesFromMs: 0, noFailover: 'needless failover' } }),
  /** The primary dies, all others are well. */
  death(random) {
    const atMs = random.between(15_000, 25_000);
    return new Plan()
      .at(atMs, { kind: 'crash', node: 'web-1' })
      .done(60_000, { expect: { promotedAfterMs: atMs, someoneServesAtEnd: true } });
  },
  'paused-primary'(random) {
    const atMs = random.between(15_000, 25_000);
    const plan = new Plan()
      .at(atMs, { kind: 'pause', node: 'web-1' })
      .at(atMs + 40_000, { kind: 'resume', node: 'web-1' });
    return plan.done(80_000, { expect: { promotedAfterMs: atMs, someoneServesAtEnd: true } });
  },
  'death-after-outage'(random) {
    const atMs = random.between(10_000, 12_000);
    const backMs = atMs + random.between(65_000, 80_000);
    const diesMs = backMs + random.between(25_000, 30_000);
    const plan = new Plan();
    if (random.chance(0.5)) plan.controllers(atMs, 'crash').controllers(backMs, 'boot');
    else plan.at(atMs, { kind: 'crash', node: 'web-2' }).at(backMs, { kind: 'boot', node: 'web-2' });
    plan.at(diesMs, { kind: 'crash', node: 'web-1' });
    return plan.done(diesMs + 30_000, { expect: { promotedAfterMs: diesMs } });
  },
  /** Witnesses fail, but the controller hears the primary. */
  'seen-by-controller'(random) {
    const plan = new Plan();
    for (const witness of WITNESSES) plan.cut(random.between(10_000, 20_000), 'web-1', witness);
    return plan.done(60_000, { expect: { noFailover: 'needless failover', servesFromMs: 0 } });
  },
  /** The controller and one witness are cut from the primary; the other witnesses are not heard. */
  'one-witness-fails'(random) {
    const plan = new Plan();
    for (const replica of REPLICAS) {
      plan.cut(random.between(10_000, 12_000), 'web-1', replica);
      plan.cut(random.between(10_000, 12_000), 'mon-1', replica).cut(random.between(10_000, 12_000), 'api-1', replica);
    }
    plan.cut(random.between(10_000, 12_000), 'web-1', 'db-1');
    return plan.done(60_000, { expect: { noFailover: 'needless failover' } });
  },
  /** No probe and no renewal comes through, but one witness hears the agent. */
  'seen-by-witness'(random) {
    const plan = new Plan();
    const atMs = random.between(10_000, 12_000);
    for (const replica of REPLICAS) plan.cut(atMs, 'web-1', replica);
    const seer = random.pick(WITNESSES);
    for (const witness of WITNESSES) plan.cut(atMs, witness, 'web-1', witness === seer ? 'one' : 'both');
    return plan.done(60_000, { expect: { noFailover: 'needless failover', servesFromMs: 0 } });
  },
  /** The controller's side is cut from the primary and the standby, but for a leak towards the standby. */
  'isolated-controller'(random) {
    const plan = new Plan();
    const atMs = random.between(10_000, 12_000);
    const sideways = random.chance(0.7) ? ['mon-1', 'db-1'] : ['api-1', 'db-1'];
    for (const node of [...REPLICAS, ...sideways]) {
      plan.cut(atMs, 'web-1', node);
      plan.cut(atMs, 'web-2', node, 'one');
      if (random.chance(0.3)) plan.cut(atMs, node, 'web-2', 'one');
    }
    for (const replica of REPLICAS)
      for (const other of WITNESSES) if (!sideways.includes(other)) plan.cut(atMs, replica, other);
    return plan.done(60_000, { expect: { noFailover: 'needless failover' } });
  },
  /** The controller and a part of the primary's site are cut from the primary and from everything outside. */
  'no-witness-outside'(random) {
    const plan = new Plan();
    const atMs = random.between(10_000, 12_000);
    for (const node of [...REPLICAS, 'mon-1', 'api-1']) plan.cut(atMs, 'web-1', node);
    for (const replica of REPLICAS) plan.cut(atMs, 'db-1', replica);
    return plan.done(60_000, { expect: { noFailover: 'needless failover', servesFromMs: 0 } });
  },
  'standby-outage'(random) {
    const atMs = random.between(5000, 10_000);
    const plan = new Plan();
    random.pick([
      () => plan.at(atMs, { kind: 'crash', node: 'web-2' }),
      () => plan.at(atMs, { kind: 'pause', node: 'web-2' }),
      () => plan.cutFromAll(atMs, 'web-2'),
      () =>
        plan.at(atMs, { kind: 'kill-agent', node: 'web-2' }).at(atMs + 5000, { kind: 'start-agent', node: 'web-2' }),
    ])();
    plan.healAll(95_000, 'web-2').at(95_000, { kind: 'resume', node: 'web-2' }, { kind: 'boot', node: 'web-2' });
    return plan.done(120_000, { expect: { servesFromMs: 0, noFailover: 'needless failover' } });
  },
  'controller-outage'(random) {
    const atMs = random.between(5000, 10_000);
    const plan = new Plan();
    if (random.chance(0.5)) plan.controllers(atMs, 'crash').controllers(95_000, 'boot');
    else for (const replica of REPLICAS) plan.cutFromAll(atMs, replica).healAll(95_000, replica);
    return plan.done(120_000, { expect: { servesFromMs: 0, noFailover: 'needless failover' } });
  },
  /** One, and more than 60 s later the other as well. */
  'both-outage'(random) {
    const atMs = random.between(5000, 10_000);
    const laterMs = atMs + random.between(67_000, 90_000);
    const plan = new Plan();
    if (random.chance(0.5)) plan.controllers(atMs, 'crash').at(laterMs, { kind: 'crash', node: 'web-2' });
    else plan.at(atMs, { kind: 'crash', node: 'web-2' }).controllers(laterMs, 'crash');
    return plan.done(laterMs + 30_000, { expect: { servesFromMs: 0 } });
  },
  /** One is back, but the three do not all see each other: then the other goes. */
  'half-back'(random) {
    const backMs = 75_000;
    const laterMs = random.between(95_000, 100_000);
    const plan = new Plan();
    if (random.chance(0.5)) {
      plan.at(5000, { kind: 'crash', node: 'web-2' }).at(backMs, { kind: 'boot', node: 'web-2' });
      plan.cut(6000, 'web-1', 'web-2').controllers(laterMs, 'crash');
    } else {
      plan.controllers(5000, 'crash').controllers(backMs, 'boot');
      for (const node of REPLICAS) plan.cut(6000, 'web-1', node);
      plan.at(laterMs, { kind: 'crash', node: 'web-2' });
    }
    return plan.done(laterMs + 30_000, { expect: { servesFromMs: 0 } });
  },
  'clean-stop'(random) {
    const atMs = random.between(8000, 10_000);
    const plan = new Plan();
    if (random.chance(0.5)) plan.controllers(atMs, 'clean-stop').at(atMs + 6000, { kind: 'crash', node: 'web-2' });
    else
      plan
        .at(atMs, { kind: 'clean-stop', node: 'web-2' })
        .at(atMs + 5000, { kind: 'crash', node: 'web-2' })
        .controllers(atMs + 6000, 'crash');
    return plan.done(50_000, { expect: { servesFromMs: 0 } });
  },
  'plan-paused'(random) {
    const plan = new Plan().at(5000, { kind: 'plan', ready: false });
    plan.at(random.between(12_000, 20_000), { kind: 'crash', node: 'web-1' });
    return plan.done(60_000, { expect: { noFailover: 'unwanted failover' } });
  },
  /** The new primary dies as well. */
  holdoff(random) {
    const plan = new Plan().at(10_000, { kind: 'crash', node: 'web-1' }).at(30_000, { kind: 'boot', node: 'web-1' });
    const atMs = random.between(60_000, 70_000);
    plan.at(atMs, { kind: 'crash', node: 'web-2' });
    return plan.done(110_000, { expect: { noOrder: [30_000, 110_000] } });
  },
  /** The primary lives by the controller alone, and is cut from it too; lateness, drift and restarts work on the rest. */
  edge(random) {
    const atMs = random.between(13_000, 17_000);
    const plan = new Plan();
    for (const node of [...WITNESSES, 'web-2']) plan.cut(2000, 'web-1', node);
    for (const node of REPLICAS) plan.cut(atMs, 'web-1', node);
    plan.healAll(atMs + random.between(25_000, 40_000), 'web-1');
    if (random.chance(0.6)) plan.cut(2000, 'web-1', 'controller-2');
    if (random.chance(0.4)) {
      const node = random.pick([...HOSTS, ...REPLICAS]);
      plan.at(atMs + random.between(0, 6000), { kind: 'wall-jump', node, byMs: random.between(-60_000, 60_000) });
    }
    // The driver restarts.
    if (random.chance(0.4)) {
      const downMs = atMs + random.between(0, 300);
      plan.at(downMs, { kind: 'crash', node: 'controller-1' });
      plan.at(downMs + random.between(20, 500), { kind: 'boot', node: 'controller-1' });
    }
    if (random.chance(0.5)) plan.at(atMs + random.between(0, 400), { kind: 'kill-agent', node: 'web-1' });
    const network: NetworkSettings = { ...CALM, late: 0.5, lateMs: 7000, doubled: 0.1 };
    const lateTo = random.pick(['web-1', 'catalog', 'web-2']);
    return plan.done(atMs + 60_000, { network: random.chance(0.5) ? { ...network, lateTo } : CALM });
  },
  /** The last grants before a cut arrive late. */
  'late-grants'(random) {
    const atMs = random.between(13_000, 17_000);
    const plan = new Plan();
    for (const node of [...WITNESSES, 'web-2', 'controller-2']) plan.cut(2000, 'web-1', node);
    plan.cut(atMs, 'web-1', 'controller-1');
    return plan.done(atMs + 40_000, { network: { ...CALM, late: 0.6, lateMs: 7500, lateTo: 'web-1' } });
  },
  /** As edge, but the standby heard the primary last. */
  'standby-edge'(random) {
    const atMs = random.between(10_000, 14_000);
    const plan = new Plan();
    for (const node of [...REPLICAS, ...WITNESSES]) plan.cut(atMs, 'web-1', node);
    const lastMs = atMs + random.between(2000, 12_000);
    plan.cut(lastMs, 'web-2', 'web-1', 'one');
    // What the standby answers still arrives, what it is told to say does not: the stop is lost.
    plan.cut(lastMs + random.between(0, 3000), 'web-1', 'web-2');
    plan
      .at(lastMs + random.between(0, 3000), { kind: 'kill-agent', node: 'web-2' })
      .at(lastMs + random.between(3000, 5000), { kind: 'start-agent', node: 'web-2' });
    plan.healAll(atMs + 50_000, 'web-1');
    return plan.done(atMs + 70_000);
  },
  /** The primary lives by a replica that does not drive; what the driver asks of the catalog is late. */
  'slow-catalog'(random) {
    const atMs = random.between(10_000, 14_000);
    const plan = new Plan();
    for (const node of [...WITNESSES, 'web-2', 'controller-1']) plan.cut(2000, 'web-1', node);
    plan.cut(atMs, 'web-1', 'controller-2');
    plan.at(atMs + random.between(0, 300), { kind: 'kill-agent', node: 'web-1' });
    // What is on its way arrives, however late.
    plan.cut(atMs - random.between(1000, 4000), 'controller-1', 'catalog', 'one');
    plan.heal(atMs + random.between(3000, 6500), 'controller-1', 'catalog');
    return plan.done(atMs + 50_000, { network: { ...CALM, late: 0.6, lateMs: 6000, lateTo: 'catalog' } });
  },
  /** The same, and the driver hears nothing of the catalog for a while. */
  'deaf-driver'(random) {
    const atMs = random.between(13_000, 16_000);
    const plan = new Plan();
    for (const node of [...WITNESSES, 'web-2', 'controller-1']) plan.cut(2000, 'web-1', node);
    plan.cut(atMs - random.between(6500, 9000), 'catalog', 'controller-1', 'one');
    plan.cut(atMs, 'web-1', 'controller-2').heal(atMs + random.between(0, 1500), 'catalog', 'controller-1');
    return plan.done(atMs + 50_000);
  },
  /** One replica is cut from the catalog and still hears the primary. */
  'stale-replica'(random) {
    const atMs = random.between(10_000, 14_000);
    const plan = new Plan();
    const [stale, other] = random.chance(0.5) ? ['controller-2', 'controller-1'] : ['controller-1', 'controller-2'];
    for (const node of [...WITNESSES, 'web-2', other]) plan.cut(atMs, 'web-1', node);
    plan.cut(atMs, stale, 'catalog');
    if (random.chance(0.6)) plan.heal(atMs + random.between(9000, 20_000), stale, 'catalog');
    return plan.done(atMs + 60_000);
  },
  /** Its application hangs and its agent lives; nobody but the standby hears it. */
  'sick-primary'(random) {
    const atMs = random.between(10_000, 14_000);
    const plan = new Plan();
    for (const node of [...WITNESSES, ...REPLICAS]) plan.cut(atMs, 'web-1', node);
    return plan.done(60_000, { expect: { toldToStop: true } });
  },
  /** One granter has given a grant without end; then everything is cut, restarted and healed around it. */
  disarmed(random) {
    const plan = new Plan();
    const backMs = 70_000 + random.between(0, 10_000);
    if (random.chance(0.6)) plan.controllers(5000, 'crash').controllers(backMs, 'boot');
    else plan.at(5000, { kind: 'crash', node: 'web-2' }).at(backMs, { kind: 'boot', node: 'web-2' });
    const cutMs = backMs + random.between(-6000, 12_000);
    isolatePrimary(plan, cutMs);
    plan
      .at(cutMs + random.between(-2000, 3000), { kind: 'kill-agent', node: 'web-2' })
      .at(cutMs + 4000, { kind: 'start-agent', node: 'web-2' });
    const network: NetworkSettings = { ...CALM, late: 0.3, lateMs: 6000, doubled: 0.2, loss: 0.1 };
    return plan.done(backMs + 60_000, { network });
  },
  'dead-agent'(random) {
    const atMs = random.between(10_000, 14_000);
    const plan = new Plan().at(atMs, { kind: 'kill-agent', node: 'web-1' });
    return isolatePrimary(plan, atMs + random.between(0, 3000)).done(50_000);
  },
  /** The agent is paused between any two effects, while the rest is cut. */
  'mid-pause'(random) {
    const atMs = random.between(10_000, 30_000);
    return isolatePrimary(new Plan(), atMs).done(atMs + 40_000, {
      midPause: 0.02,
      network: { ...CALM, maxDelayMs: 300 },
    });
  },
  'frozen-machine'(random) {
    const atMs = random.between(10_000, 20_000);
    const plan = new Plan()
      .at(atMs, { kind: 'freeze', node: 'web-1' })
      .at(atMs + random.between(13_000, 40_000), { kind: 'thaw', node: 'web-1' });
    return plan.done(80_000, { powerOff: true, scriptWorks: random.chance(0.5) });
  },
  reboot(random) {
    const atMs = random.between(10_000, 20_000);
    const plan = new Plan()
      .at(atMs, { kind: 'crash', node: 'web-1' })
      .at(atMs + random.between(3000, 30_000), { kind: 'boot', node: 'web-1' });
    if (random.chance(0.5))
      plan
        .at(atMs + 40_000, { kind: 'kill-agent', node: 'web-2' })
        .at(atMs + 45_000, { kind: 'start-agent', node: 'web-2' });
    if (random.chance(0.5))
      plan.at(atMs + 42_000, { kind: 'crash', node: 'web-1' }).at(atMs + 46_000, { kind: 'boot', node: 'web-1' });
    return plan.done(100_000, { holdoffMs: 20_000, network: random.chance(0.3) ? ROUGH : CALM });
  },
  /** Orders that come once the run went on without them. */
  'late-orders'(random) {
    const atMs = random.between(10_000, 20_000);
    const plan = new Plan()
      .at(atMs, { kind: 'crash', node: 'web-1' })
      .at(atMs + random.between(13_000, 20_000), { kind: 'boot', node: 'web-1' });
    const back = atMs + random.between(40_000, 60_000);
    plan.cutFromAll(back, 'web-2').healAll(back + 30_000, 'web-2');
    plan.at(back + 40_000, { kind: 'crash', node: 'web-1' }).at(back + 60_000, { kind: 'boot', node: 'web-1' });
    return plan.done(back + 80_000, {
      holdoffMs: 15_000,
      network: { ...CALM, late: 0.4, lateMs: 120_000, lateTo: 'web-2', doubled: 0.6 },
    });
  },
  rollback(random) {
    const atMs = random.between(10_000, 14_000);
    const plan = isolatePrimary(new Plan(), atMs, atMs + random.between(14_000, 40_000));
    plan.at(atMs + random.between(14_000, 45_000), {
      kind: 'roll-back',
      ageMs: random.between(10_000, 40_000),
      silent: false,
    });
    return plan.done(atMs + 100_000, { holdoffMs: 20_000, expect: { someoneServesAtEnd: true } });
  },
  /** The catalog forgets that the controller had disarmed. */
  'rollback-disarmed'(random) {
    const plan = new Plan().at(8000, { kind: 'plan', ready: false });
    plan.at(20_000, { kind: 'roll-back', ageMs: 14_000, silent: false });
    plan.at(random.between(14_000, 24_000), { kind: 'plan', ready: true });
    return isolatePrimary(plan, 20_000 + random.between(300, 4000)).done(60_000);
  },
  /** The catalog forgets an order that is still on its way. */
  'rollback-late-order'(random) {
    const atMs = random.between(10_000, 12_000);
    const plan = new Plan();
    for (const node of [...WITNESSES, ...REPLICAS]) plan.cut(atMs, 'web-1', node);
    // The standby still hears requests, so it waits longer than the controller; nothing of it arrives.
    plan.cut(atMs + random.between(4000, 6500), 'web-2', 'web-1', 'one');
    const backMs = atMs + random.between(12_500, 15_500);
    for (const node of REPLICAS) plan.heal(backMs, 'web-1', node);
    plan.at(backMs, { kind: 'roll-back', ageMs: random.between(7000, 10_000), silent: false });
    return plan.done(atMs + 60_000);
  },
  /** A host is off for good, the catalog forgets, and a person goes on with the other one. Then the lost one is switched on all the same. */
  override(random) {
    const atMs = random.between(14_000, 18_000);
    const restoredMs = atMs + random.between(20_000, 26_000);
    const saidMs = restoredMs + random.between(8000, 12_000);
    const ageMs = restoredMs - atMs + random.between(-6000, 8000);
    const plan = new Plan();
    const [dead, isPromoted] = random.pick([
      // The survivor was cut off, and knows of no promotion but its own.
      () => {
        isolatePrimary(plan, atMs, restoredMs).at(restoredMs - 2000, { kind: 'crash', node: 'web-2' });
        return ['web-2', true] as const;
      },
      // The survivor was promoted, serves, and goes on.
      () => {
        plan.at(atMs, { kind: 'crash', node: 'web-1' });
        return ['web-1', true] as const;
      },
      // Nobody was promoted: a person does that as well.
      () => {
        plan.at(4000, { kind: 'plan', ready: false }).at(atMs, { kind: 'crash', node: 'web-1' });
        return ['web-1', false] as const;
      },
    ])();
    plan.at(restoredMs, { kind: 'roll-back', ageMs, silent: false });
    plan.at(saidMs, { kind: 'person-overrides', dead });
    if (!isPromoted) plan.at(saidMs + 4000, { kind: 'person-promotes' });
    if (random.chance(0.7)) plan.at(saidMs + random.between(9000, 40_000), { kind: 'boot', node: dead });
    return plan.done(saidMs + 90_000, { expect: { someoneServesAtEnd: true } });
  },
  /** The catalog fails over and forgets, and nobody can tell. Refused in automatic mode; with the rule removed it is not. */
  'lossy-catalog'(random) {
    const atMs = random.between(10_000, 12_000);
    const plan = isolatePrimary(new Plan(), atMs);
    const backMs = atMs + random.between(10_000, 14_000);
    for (const node of REPLICAS) plan.heal(backMs, 'web-1', node);
    plan.at(atMs + random.between(10_000, 16_000), {
      kind: 'roll-back',
      ageMs: random.between(3000, 8000),
      silent: true,
    });
    return plan.done(atMs + 50_000, { synchronousCatalog: false });
  },
} satisfies Record<string, (random: Random) => Schedule>;

export type ScenarioName = keyof typeof generators;
export const SCENARIOS = Object.keys(generators) as ScenarioName[];

export function makeSchedule(scenario: ScenarioName, random: Random): Schedule {
  return generators[scenario](random);
}
