# Archives and compressors, each back and forth, also with several threads.
mkdir tree; for i in 1 2 3 4 5 6 7 8; do mkdir tree/d$i; seq $i 20000 > tree/d$i/numbers; ln -s numbers tree/d$i/link; done
ln tree/d1/numbers tree/hard; chmod 600 tree/d2/numbers; touch -d '2020-01-02 03:04:05' tree/d3/numbers
T='tar --sort=name --mtime=@1000000000 --owner=0 --group=0 --numeric-owner'
$T -cf a.tar tree; md5sum a.tar; tar -tf a.tar | wc -l
$T -czf a.tgz tree; mkdir x; tar -xzf a.tgz -C x; diff -r tree x/tree && echo gzip same; rm -r x
XZ_OPT='-T2 -0' $T -cJf a.txz tree; mkdir x; tar -xJf a.txz -C x; diff -r tree x/tree && echo xz same; rm -r x
zstd -q -T2 a.tar -o a.zst; zstd -dc a.zst | cmp - a.tar && echo zstd same
xz -T2 -1 -k --block-size=100000 a.tar; xz -dc -T2 a.tar.xz | md5sum
gzip -9 -c a.tar | gzip -dc | md5sum
tar -cf - tree | (mkdir y; cd y; tar -xf -); diff -r tree y/tree && echo pipe same
cp -a tree z; diff -r tree z && echo copy same; find z -type l | wc -l; du -sb z/d1/numbers | cut -f1
rm -rf x y z a.*; ls
