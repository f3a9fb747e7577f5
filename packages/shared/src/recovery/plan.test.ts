import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { checkPlan } from './check-plan.ts';
import { servicesOn } from './services-on.ts';

const example = readFileSync(new URL('../../../../docs/plans.md', import.meta.url), 'utf8')
  .split('```yaml\n')[1]!
  .split('```')[0]!;

/** Findings of the example with one place changed. */
function changed(from: string, to: string): string[] {
  expect(example).to.contain(from);
  return checkPlan(example.replace(from, to)).findings.map(({ field, message }) => `${field}: ${message}`);
}

describe('recovery plan documents', () => {
  it('takes the documented example and fills in defaults', () => {
    const { plan, findings } = checkPlan(example);
    expect(findings).to.deep.equal([]);
    expect(plan?.objectives).to.deep.equal({ rto: 900_000, rpo: 300_000, drillEvery: 2_592_000_000 });
    expect(plan?.steps[0]?.in).to.deep.equal(['drill', 'planned', 'unplanned']);
  });

  it('gives each host the services with its own variables, and refuses one that a host does not set', () => {
    const service = (word: string): string =>
      example.replace('sources: [', `services: {shop: {start: [/s, "${word}"], stop: [/s], status: [/s]}}\nsources: [`);
    const { plan, findings } = checkPlan(service('${bind}'));
    expect(findings).to.deep.equal([]);
    expect(servicesOn(plan!, 'web-2')['shop']?.start).to.deep.equal(['/s', '10.77.0.12']);
    expect(checkPlan(service('${bidn}')).findings[0]).to.include({ field: 'services.shop.start[1]' });
  });

  it('depends on other plans, and not on itself', () => {
    expect(changed('dependsOn: [dns]', 'dependsOn: [dns, shop]')).to.deep.equal([
      "metadata.dependsOn[1]: a plan can't depend on itself",
    ]);
  });

  it('names line, column and field of a misspelt field, and the one that was meant', () => {
    const { findings } = checkPlan(example.replace('needs: [migrate]', 'nedes: [migrate]'));
    const line = example.split('\n').findIndex((each) => each.includes('id: start,')) + 1;
    expect(findings).to.have.length(1);
    expect(findings[0]).to.include({
      line,
      field: 'steps[8].nedes',
      message: 'there is no such field. Did you mean needs?',
    });
  });

  it('refuses unknown step types, durations, steps, sources and variables', () => {
    expect(changed('type: fence', 'type: fense')).to.deep.equal([
      'steps[3].type: there is no step type "fense". Did you mean fence?',
    ]);
    expect(changed('type: fence, ', '')[0]).to.equal('steps[3].type: this field is missing');
    expect(changed('rto: 15m', 'rto: 15')[0]).to.match(/^objectives.rto: a duration such as/);
    expect(changed('needs: [switch]', 'needs: [swich]')).to.deep.equal([
      'steps[11].needs[0]: the plan has no step "swich". Did you mean switch?',
    ]);
    expect(changed('source: files', 'source: file')[0]).to.contain('no source "file". Did you mean files?');
    expect(changed('"http://${bind}/healthz"', '"http://${bnd}/healthz"')[0]).to.contain(
      'steps[9].url: the plan has no variable',
    );
  });

  it('takes IPv6 addresses, and refuses what would answer nobody: brackets in the wrong place, zones, URLs that are none', () => {
    const ip = '10.77.0.100/24';
    for (const well of ['"fd00:77::100/64"', 'fd00:77::100', '"2001:db8::1/128"'])
      expect(changed(ip, well)).to.deep.equal([]);
    expect(changed(ip, '"[fd00:77::100]/64"')[0]).to.match(/^steps\[10\].*without brackets/);
    expect(changed(ip, 'fd00:77::100%eth0/64')[0]).to.match(/^steps\[10\].*zone/);
    expect(changed(ip, 'fd00:77::100/129')[0]).to.match(/^steps\[10\].*prefix length/);
    expect(changed(ip, 'fe80::1/64')[0]).to.match(/^steps\[10\].*fe80::1 is none/);
    const bare = changed('bind: 10.77.0.12', 'bind: "fd00:77::12"');
    expect(bare).to.have.length(2);
    expect(bare[0]).to.match(/^steps\[9\].url: with the variables of web-2 it is not a URL.*brackets/);
    expect(bare[1]).to.match(/^detect.witnesses.probe: with the variables of web-2/);
    expect(changed('bind: 10.77.0.12', 'bind: "[fd00:77::12]"')).to.deep.equal([]);
    expect(changed('"http://10.77.0.100/healthz"', '"http://[fd00:77::100%25eth0]/"')[0]).to.contain('not a URL');
  });

  it('P1 refuses a circle, but only in modes where all of it runs', () => {
    expect(changed('users: true, ahead: true}', 'users: true, needs: [start]}').join()).to.contain(
      'in drill runs these wait for each other',
    );
    expect(changed('users: true, ahead: true}', 'users: true, needs: [last]}').join()).to.match(
      /^steps\[0\].needs: in planned runs [^;]*$/,
    );
  });

  it('P2 refuses traffic that a fence does not precede in every real mode', () => {
    expect(changed('type: fence, in: [unplanned, planned]', 'type: fence, in: [planned]').join()).to.contain(
      '"switch" is not behind a fence in unplanned runs',
    );
  });

  it('refuses what may not run ahead, and what needs something that does not', () => {
    expect(
      changed('units: [shop, nginx], needs: [migrate]}', 'units: [shop, nginx], needs: [rebuild], ahead: true}'),
    ).to.deep.include("steps[8].ahead: a service.start step can't run ahead");
    expect(
      changed('source: files, needs: [rebuild, fence]', 'source: files, needs: [rebuild, fence], ahead: true'),
    ).to.deep.equal([
      'steps[4].ahead: a warm copy is kept up to date anyway, and a restore ahead would end it',
      'steps[4].needs[1]: "files" runs ahead, but "fence" does not',
    ]);
  });

  it('P3 refuses a drill that reaches the primary', () => {
    expect(changed('type: service.stop, in: [planned]', 'type: service.stop')).to.deep.equal([
      'steps[1]: "quiesce" would touch production in a drill: leave drill out of its "in"',
    ]);
  });

  it('refuses aliases and documents without bounds', () => {
    expect(checkPlan('a: &x [1]\nb: *x\n').findings[0]?.message).to.equal('a plan has no YAML aliases');
    expect(checkPlan(' '.repeat(262_145)).findings[0]?.message).to.equal('a plan has at most 256 KiB');
  });
});
