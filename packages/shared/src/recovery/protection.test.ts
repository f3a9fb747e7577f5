import { expect } from 'chai';
import { parsePlan, type Plan } from './plan.ts';
import { protectionOf, ungatedServers } from './protection.ts';

function planWith(more: string, steps: string): Plan {
  const { plan, findings } = parsePlan(`apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@example.org}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2]}
sources: [files]
${more}
steps:
${steps}`);
  expect(findings).to.deep.equal([]);
  return plan!;
}

const STEPS = `  - {id: healthy, type: check.http, host: standby, url: "http://\${bind}:8080/healthz", needs: [start]}
  - {id: start, type: service.start, host: standby, units: [shop, nginx], needs: [db]}
  - {id: db, type: restore.postgres, host: standby, source: files, unit: postgresql}
  - {id: secure, type: check.http, from: witnesses, url: "https://10.77.0.100/", needs: [switch]}
  - {id: sql, type: check.tcp, host: standby, address: "\${bind}:5432", needs: [db]}
  - {id: quiet, type: service.stop, host: primary, units: [cron], in: [planned]}
  - {id: back, type: service.start, host: primary, units: [batch], needs: [quiet]}
  - {id: try, type: service.start, host: standby, units: [trial], in: [drill]}
  - {id: switch, type: traffic, via: [{address: {ip: 10.77.0.100/24, dev: eth0}}, {dns: {name: shop.example.}}], needs: [healthy]}
`;

/** @param text 'HOST: {NAME: "VALUE", …}, …' */
function varsOf(text: string): Plan['placement']['vars'] {
  return parsePlan(`apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: ops@example.org}
objectives: {rto: 15m, rpo: 5m}
placement: {hosts: [web-1, web-2], vars: {${text}}}
sources: [files]
steps: [{id: a, type: wait, for: 1s}]`).plan!.placement.vars;
}

describe('what of a plan only the host that serves may have', () => {
  it('units that start on the standby, each after what it needs, and those of its restores; not a drill’s, not the primary’s', () => {
    expect(protectionOf(planWith('', STEPS)).units).to.deep.equal(['postgresql', 'shop', 'nginx']);
  });

  it('the ports that its checks ask, with those that a scheme stands for', () => {
    const probe = 'detect: {mode: approve, witnesses: {hosts: [mon-1], agree: 1, probe: "http://${primary.bind}/"}}';
    expect(protectionOf(planWith(probe, STEPS)).ports).to.deep.equal([80, 443, 5432, 8080]);
  });

  it('the port that a variable holds, and one behind an IPv6 address in brackets', () => {
    const detect =
      'detect: {mode: approve, witnesses: {hosts: [mon-1], agree: 1, probe: "http://[${primary.bind}]:8443/"}}';
    const steps = `  - {id: at, type: check.http, host: standby, url: "http://\${place}/"}
  - {id: sql, type: check.tcp, host: standby, address: "[\${bind}]:5432"}
`;
    const vars = 'web-1: {bind: "fd00::1", place: "[fd00::1]:8081"}, web-2: {bind: "fd00::2", place: "[fd00::2]:8082"}';
    const plan = planWith(detect, steps);
    expect(protectionOf(plan).ports).to.deep.equal([80, 5432, 8443]);
    const placed = { ...plan, placement: { ...plan.placement, vars: varsOf(vars) } };
    expect(protectionOf(placed).ports).to.deep.equal([5432, 8081, 8082, 8443]);
  });

  it('only the ports that the plan names, when it names any', () => {
    expect(protectionOf(planWith('ports: [3306]', STEPS)).ports).to.deep.equal([3306]);
  });

  it('the addresses that its traffic moves', () => {
    expect(protectionOf(planWith('', STEPS)).addresses).to.deep.equal([{ ip: '10.77.0.100/24', device: 'eth0' }]);
    // In the text that the kernel has for it, and with a prefix.
    const six = `  - {id: six, type: traffic, via: [{address: {ip: "FD00:77:0::100", dev: eth0}}]}\n`;
    expect(protectionOf(planWith('', six)).addresses).to.deep.equal([{ ip: 'fd00:77::100/128', device: 'eth0' }]);
  });

  it('a restored server whose port is not gated is told of', () => {
    expect(ungatedServers(planWith('ports: [80]', STEPS))).to.deep.equal([{ step: 'db', port: 5432 }]);
    expect(ungatedServers(planWith('ports: [80, 5432]', STEPS))).to.deep.equal([]);
  });
});
