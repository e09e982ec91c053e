# Usage: machine.sh DIRECTORY CONTAINERD. Makes this mount namespace look like a machine that
# Piccolo was never on, whose containerd is the one in CONTAINERD, and stays.
set -eu
directory=$1 containerd=$2
cd "$directory"
mkdir bin local lib run-containerd state
cp -a /etc etc
rm -rf etc/piccolo etc/containerd etc/systemd/system
mkdir -p etc/systemd/system etc/containerd
ln -s "$containerd/certs.d" etc/containerd/certs.d
sed "s|$containerd/certs.d|/etc/containerd/certs.d|" "$containerd/config.toml" >etc/containerd/config.toml
ln -s "$containerd/root" lib/containerd
ln -s "$containerd/c.sock" run-containerd/containerd.sock
mkdir -p /run/containerd
mount --bind etc /etc
mount --bind local /usr/local/bin
mount --bind lib /var/lib
mount --bind run-containerd /run/containerd
touch ready
exec sleep infinity
