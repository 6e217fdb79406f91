// The container that holds a pod's namespaces on the one-node cluster.
module pytorchjob-launcher/tools/pause

go 1.26.0

tool pytorchjob-launcher/tools/pause
