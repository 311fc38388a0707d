package checkinfra_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"secureapi/scripts/checkinfra"
)

// TestPublicAccess: private profiles have no public endpoint, whatever has one at all.
func TestPublicAccess(t *testing.T) { hold(t, publicAccess) }

// TestPrivateEndpoints: each service in use is reached by an endpoint with its zone.
func TestPrivateEndpoints(t *testing.T) { hold(t, privateEndpoints) }

// TestEgress: the app leaves the network by one way, to named services, on port 443.
func TestEgress(t *testing.T) { hold(t, egress) }

func host(r checkinfra.Resource) bool { return strings.HasPrefix(r.Name, "sttesthost") }

func publicAccess(profile string, s checkinfra.Snapshot) []string {
	var wrong problems
	// The monitor's own endpoints stay public and take tokens only (infra/README.md).
	closable := []string{"Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults", "Microsoft.Web/sites"}
	for _, r := range s.Resources {
		access, has := r.Properties["publicNetworkAccess"]
		if slices.Contains(closable, r.Type) && !has {
			wrong.addf("%s %s leaves public access to a default", r.Type, r.Name)
		}
		if !private(profile) {
			continue
		}
		if has && access != "Disabled" {
			wrong.addf("%s %s: publicNetworkAccess is %v", r.Type, r.Name, access)
		}
		if action := r.At("networkAcls.defaultAction"); action != nil && action != "Deny" {
			wrong.addf("%s %s: its firewall's default is %v", r.Type, r.Name, action)
		}
		for _, rules := range []string{"ipRules", "virtualNetworkRules", "resourceAccessRules"} {
			if holes, _ := r.At("networkAcls." + rules).([]any); len(holes) > 0 {
				wrong.addf("%s %s: a hole in its firewall: %v", r.Type, r.Name, holes)
			}
		}
	}
	return wrong
}

func privateEndpoints(profile string, s checkinfra.Snapshot) []string {
	var wrong problems
	reached := map[string]bool{}
	for _, e := range of(s, "Microsoft.Network/privateEndpoints") {
		for _, c := range list(e, "privateLinkServiceConnections") {
			p, _ := c["properties"].(map[string]any)
			target, _ := p["privateLinkServiceId"].(string)
			groups, _ := p["groupIds"].([]any)
			reached[fmt.Sprint(last(target), groups)] = true
		}
		if !slices.ContainsFunc(of(s, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups"), func(g checkinfra.Resource) bool {
			return strings.HasPrefix(g.ID, e.ID+"/") && len(list(g, "privateDnsZoneConfigs")) == 1
		}) {
			wrong.addf("%s has no zone: its name would still resolve to the public address", e.Name)
		}
	}
	if !private(profile) {
		if len(reached) > 0 {
			wrong.addf("endpoints that nobody asked for: %v", reached)
		}
		return wrong
	}
	for _, r := range s.Resources {
		for _, want := range services(r) {
			if name := fmt.Sprint(last(r.ID), want); !reached[name] {
				wrong.addf("nothing reaches %s", name)
			}
		}
	}
	for _, z := range of(s, "Microsoft.Network/privateDnsZones") {
		if !slices.ContainsFunc(of(s, "Microsoft.Network/privateDnsZones/virtualNetworkLinks"), func(l checkinfra.Resource) bool {
			// The name of a zone of storage is an expression, and so is its link's.
			return strings.Contains(l.Name, strings.Trim(z.Name, "[]"))
		}) {
			wrong.addf("zone %s is not linked to the network", z.Name)
		}
	}
	return wrong
}

// services are the sub-resources of a resource that the app uses.
func services(r checkinfra.Resource) [][]any {
	switch {
	case r.Type == "Microsoft.KeyVault/vaults":
		return [][]any{{"vault"}}
	case r.Type == "Microsoft.Web/sites":
		return [][]any{{"sites"}}
	case r.Type != "Microsoft.Storage/storageAccounts":
		return nil
	case host(r):
		return [][]any{{"blob"}}
	case strings.HasPrefix(r.Name, "sttestdata"):
		return [][]any{{"blob"}, {"queue"}, {"table"}}
	default:
		return [][]any{{"blob"}, {"table"}}
	}
}

func egress(profile string, s checkinfra.Snapshot) []string {
	if !private(profile) {
		return nil
	}
	var wrong problems
	allowed := []any{"AzureActiveDirectory", "AzureMonitor", "AzureFrontDoor.FirstParty"}
	denied := false
	for _, g := range of(s, "Microsoft.Network/networkSecurityGroups") {
		for _, rule := range list(g, "securityRules") {
			p, _ := rule["properties"].(map[string]any)
			switch {
			case p["direction"] == "Inbound" && p["access"] == "Allow" && p["sourceAddressPrefix"] != "VirtualNetwork":
				wrong.addf("%s lets %v in", rule["name"], p["sourceAddressPrefix"])
			case p["direction"] == "Outbound" && p["access"] == "Allow":
				if !slices.Contains(allowed, p["destinationAddressPrefix"]) || p["destinationPortRange"] != "443" {
					wrong.addf("%s lets the app out to %v:%v", rule["name"], p["destinationAddressPrefix"], p["destinationPortRange"])
				}
			case p["direction"] == "Outbound" && p["destinationAddressPrefix"] == "Internet":
				denied = p["access"] == "Deny"
			}
		}
	}
	if !denied {
		wrong.addf("the rest of the internet is not denied")
	}
	if len(of(s, "Microsoft.Network/natGateways")) != 1 {
		wrong.addf("no NAT gateway: the way out has no address of its own")
	}
	for _, v := range of(s, "Microsoft.Network/virtualNetworks") {
		for _, subnet := range list(v, "subnets") {
			p, _ := subnet["properties"].(map[string]any)
			if p["networkSecurityGroup"] == nil || p["defaultOutboundAccess"] != false {
				wrong.addf("subnet %v has no security group, or the platform's way out", subnet["name"])
			}
		}
	}
	for _, a := range of(s, "Microsoft.Web/sites") {
		if a.At("virtualNetworkSubnetId") == nil || a.At("outboundVnetRouting.allTraffic") != true {
			wrong.addf("the app's traffic does not all go through the network")
		}
	}
	return wrong
}
